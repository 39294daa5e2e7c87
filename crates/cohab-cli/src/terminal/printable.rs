//! Any bytes as text that a terminal shows and does not obey.

use std::fmt::Write;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Escapes what does not print, and cuts the text after so many columns. Cost: that of what is shown.
pub(crate) fn printable(bytes: &[u8], columns_max: usize) -> String {
    let mut shown = Shown { text: String::new(), columns: 0, columns_max, cut_at: None };
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_plain(character) {
                shown.push(character.encode_utf8(&mut [0; 4]));
            } else {
                shown.push(&character.escape_default().to_string());
            }
            if shown.is_full() {
                return shown.cut();
            }
        }
        for byte in chunk.invalid() {
            shown.push(&format!("\\x{byte:02x}"));
        }
        if shown.is_full() {
            return shown.cut();
        }
    }
    shown.text
}

/// Characters that take no room of their own, or change the direction of others, are shown by their number.
fn is_plain(character: char) -> bool {
    let is_hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !character.is_control() && !is_hidden && character.width().is_some()
}

struct Shown {
    text: String,
    columns: usize,
    columns_max: usize,
    /// Where the text ends if an ellipsis must still fit behind it.
    cut_at: Option<usize>,
}

impl Shown {
    fn push(&mut self, piece: &str) {
        let columns = piece.width();
        if self.columns + columns > self.columns_max.saturating_sub(1) && self.cut_at.is_none() {
            self.cut_at = Some(self.text.len());
        }
        self.columns += columns;
        self.text.push_str(piece);
    }

    fn is_full(&self) -> bool {
        self.columns > self.columns_max
    }

    fn cut(mut self) -> String {
        self.text.truncate(self.cut_at.unwrap_or(self.text.len()));
        if self.columns_max > 0 {
            self.text.push('…');
        }
        self.text
    }
}

/// A number of bytes for people: `812 B`, `4.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut amount = bytes as f64;
    while amount >= 999.5 && unit < 4 {
        amount /= 1000.0;
        unit += 1;
    }
    let mut text = String::new();
    let digits = usize::from(unit > 0 && amount < 99.5);
    write!(text, "{amount:.digits$} {}", ["B", "kB", "MB", "GB", "TB"][unit])
        .expect("a string takes all text");
    text
}

/// How many bytes went by in a second.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    let nanos = time.as_nanos().max(1);
    let per_second = u128::from(bytes) * 1_000_000_000 / nanos;
    format!("{}/s", size(u64::try_from(per_second).unwrap_or(u64::MAX)))
}

/// For how long something has been so, in one unit: `850 ms`, `12 s`, `3 d`.
pub(crate) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A part of a whole, 0 to 1, for people: `97.5%`. All of it and none of it are only said of just that.
pub(crate) fn percent(part: f64) -> String {
    match part {
        part if part > 0.0 && part < 0.001 => "<0.1%".to_owned(),
        part if part < 1.0 && part > 0.999 => ">99.9%".to_owned(),
        part => format!("{:.1}%", part * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_print_is_escaped_and_the_rest_is_cut() {
        let check = |bytes: &[u8], columns: usize, text: &str| assert_eq!(printable(bytes, columns), text);
        check(b"", 0, "");
        check(b"plain", 5, "plain");
        check(b"plainer", 5, "plai…");
        check(b"a\x1b[2J\n\xff\0", 40, "a\\u{1b}[2J\\n\\xff\\u{0}");
        check(b"abc\n", 4, "abc…");
        check("日本語".as_bytes(), 6, "日本語");
        check("日本語".as_bytes(), 5, "日本…");
        check("日本語".as_bytes(), 4, "日…");
        check("a\u{202e}b".as_bytes(), 20, "a\\u{202e}b");
        check(&[0xff; 9], 7, "\\xff…");
        check(b"x", 0, "");
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        let check = |seconds, text: &str| assert_eq!(age(Duration::from_secs(seconds)), text);
        assert_eq!(age(Duration::from_micros(999_999)), "999 ms");
        check(1, "1 s");
        check(119, "119 s");
        check(7199, "119 min");
        check(172_799, "47 h");
        check(172_800, "2 d");
    }

    #[test]
    fn only_all_of_it_is_a_hundred_percent() {
        let check = |part, text: &str| assert_eq!(percent(part), text);
        check(0.0, "0.0%");
        check(0.000_01, "<0.1%");
        check(0.5, "50.0%");
        check(0.9876, "98.8%");
        check(0.999_99, ">99.9%");
        check(1.0, "100.0%");
    }

    #[test]
    fn sizes_have_three_digits_at_most() {
        let check = |bytes, text: &str| assert_eq!(size(bytes), text);
        check(0, "0 B");
        check(999, "999 B");
        check(1000, "1.0 kB");
        check(99_499, "99.5 kB");
        check(123_456_789, "123 MB");
        check(u64::MAX, "18446744 TB");
        assert_eq!(rate(5_000_000, Duration::from_millis(500)), "10.0 MB/s");
    }
}
