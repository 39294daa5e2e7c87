//! Going through the entries of a namespace.

use std::convert::TryFrom;

use crate::changes::number;
use crate::host::Namespace;
use crate::imports::{self, fetch};

/// The entries of a namespace whose keys begin with a prefix, in the order of the keys.
///
/// They are fetched from the host in pages of up to 10,000 entries and about 1 MiB, into one buffer. As an iterator it returns
/// copies; [`next_entry`](Self::next_entry) lends them out of the buffer.
///
/// ```no_run
/// # use cohab_plugin_sdk::state;
/// let mut scan = state().scan("2026/").limit(100);
/// while let Some((key, value)) = scan.next_entry() {
///     // …
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Scan<'n> {
    namespace: Namespace<'n>,
    prefix: Vec<u8>,
    /// Where to begin, for the first page.
    from: Vec<u8>,
    /// How many are still wanted, if not all.
    limit: Option<u32>,
    page: Vec<u8>,
    /// Where the next entry begins in the page, and how many there are.
    at: usize,
    left: u32,
    /// Where the last key ends in the page; it begins behind its length.
    last_key: Option<(usize, usize)>,
    /// Whether the first page is all that is wanted.
    is_one_page: bool,
    is_over: bool,
}

impl<'n> Scan<'n> {
    pub(crate) fn new(namespace: Namespace<'n>, prefix: &[u8]) -> Self {
        Self {
            namespace,
            prefix: prefix.to_vec(),
            from: Vec::new(),
            limit: None,
            page: Vec::new(),
            at: 0,
            left: 0,
            last_key: None,
            is_one_page: false,
            is_over: false,
        }
    }

    /// Begins with this key, or the first one after it.
    #[must_use]
    pub fn from(mut self, key: impl AsRef<[u8]>) -> Self {
        self.from = key.as_ref().to_vec();
        self
    }

    /// Ends after so many entries, and asks the host for no more than those.
    #[must_use]
    pub fn limit(mut self, entries: u32) -> Self {
        self.limit = Some(entries);
        self
    }

    /// Ends with the first page, so that memory and time are bounded however much there is. To go on, begin another scan
    /// [`from`](Self::from) the last key with a zero byte behind it.
    #[must_use]
    pub fn one_page(mut self) -> Self {
        self.is_one_page = true;
        self
    }

    /// Returns the next key and its value, which are there until the one after is asked for.
    pub fn next_entry(&mut self) -> Option<(&[u8], &[u8])> {
        if self.left == 0 && !self.turn() {
            return None;
        }
        self.left -= 1;
        let key = self.piece();
        let value = self.piece();
        self.last_key = Some(key);
        if let Some(limit) = &mut self.limit {
            *limit -= 1;
        }
        Some((&self.page[key.0..key.1], &self.page[value.0..value.1]))
    }

    fn piece(&mut self) -> (usize, usize) {
        let mut rest = &self.page[self.at..];
        let begin = self.at + 4;
        self.at = begin + number(&mut rest) as usize;
        (begin, self.at)
    }

    /// Fetches the next page, and returns whether there is an entry in it. The last page is the one that is empty: how much the
    /// host puts into one is its own affair.
    fn turn(&mut self) -> bool {
        if self.is_over || self.limit == Some(0) {
            return false;
        }
        let from = match self.last_key {
            Some(_) if self.is_one_page => return false,
            // The key that follows is the same with a zero byte behind it. What is there in the page has been read.
            Some((begin, end)) => {
                self.page[end] = 0;
                &self.page[begin..=end]
            }
            None => &self.from[..],
        };
        let (name, prefix) = (self.namespace.0, &self.prefix);
        // SAFETY: all three are of this memory, and the host only reads them.
        let len = unsafe {
            imports::scan(
                name.as_ptr(),
                name.len(),
                prefix.as_ptr(),
                prefix.len(),
                from.as_ptr(),
                from.len(),
                self.limit.unwrap_or(0),
            )
        };
        fetch(usize::try_from(len).unwrap_or(0), &mut self.page);
        self.at = 4.min(self.page.len());
        self.left = if self.page.is_empty() { 0 } else { number(&mut &self.page[..]) };
        self.is_over = self.left == 0;
        !self.is_over
    }
}

impl Iterator for Scan<'_> {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().map(|(key, value)| (key.to_vec(), value.to_vec()))
    }
}
