//! What has gone by of a dump, and what may come next: the same rules for the writer and the reader.

use cohab_core::{Digest, Name};

use super::line::End;
use super::{NamespaceHeader, Totals};
use crate::error::quote;

/// What has gone by of a dump. A step against the rules is refused with the reason.
#[derive(Debug, Default)]
pub(super) struct Progress {
    open: Option<End>,
    last_name: Option<Name>,
    /// The last key of the open namespace, if that has one.
    last_key: Vec<u8>,
    totals: Totals,
}

impl Progress {
    pub(super) fn begin_namespace(&mut self, header: &NamespaceHeader) -> Result<(), String> {
        let name = &header.name;
        if let Some(open) = &self.open {
            return Err(format!("namespace {name:?} begins before namespace {:?} has ended", open.namespace));
        }
        if let Some(last) = self.last_name.as_ref().filter(|last| *last >= name) {
            return Err(format!("namespace {name:?} does not come after namespace {last:?}"));
        }
        if !matches!(&*header.history, "full" | "off") {
            let history = quote(header.history.as_bytes());
            return Err(format!("the history of namespace {name:?} is {history}, neither `full` nor `off`"));
        }
        // Writer and reader put the header into this one form, so white space and the order of fields do not
        // count.
        let canonical = serde_json::to_vec(header).expect("writing into memory does not fail");
        let mut digest = Digest::EMPTY;
        digest.add(b"namespace", &canonical);
        self.open =
            Some(End { namespace: name.clone(), keys: 0, bytes: 0, digest: Digest::EMPTY, header: digest });
        self.last_name = Some(name.clone());
        Ok(())
    }

    pub(super) fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let Some(open) = &mut self.open else {
            return Err(format!("the key {} belongs to no namespace", quote(key)));
        };
        if open.keys > 0 && *key <= self.last_key[..] {
            return Err(format!("the key {} does not come after {}", quote(key), quote(&self.last_key)));
        }
        open.keys += 1;
        open.bytes += (key.len() + value.len()) as u64;
        open.digest.add(key, value);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    /// Returns what the namespace's last line has to say.
    pub(super) fn end_namespace(&mut self) -> Result<End, String> {
        let Some(open) = self.open.take() else {
            return Err("a namespace ends that did not begin".to_owned());
        };
        self.totals.namespaces += 1;
        self.totals.keys += open.keys;
        Ok(open)
    }

    /// Returns what the dump's last line has to say.
    pub(super) fn end(&self) -> Result<Totals, String> {
        match &self.open {
            None => Ok(self.totals),
            Some(open) => Err(format!("the dump ends before namespace {:?} has", open.namespace)),
        }
    }

    /// Tells what is missing if nothing more comes.
    pub(super) fn missing(&self) -> String {
        match &self.open {
            Some(open) => format!("the end of namespace {:?} is missing", open.namespace),
            None => "its end is missing".to_owned(),
        }
    }
}
