//! Counts how often each word occurs in the texts of a namespace, and keeps the counts in another: the word is the key, the count
//! in decimal the value.
//!
//! ```text
//! rustup target add wasm32-unknown-unknown
//! cargo build --release --target wasm32-unknown-unknown
//! cp target/wasm32-unknown-unknown/release/word_count.wasm plugin.wasm
//! ```

use std::collections::BTreeMap;

use cohab_plugin_sdk::{Changes, Namespace, Result, export, namespace, reply};

const WORDS: Namespace<'_> = namespace("texts/words");

export! { on_commit: count, on_request: answer }

/// Counts the words that came and those that went.
fn count(changes: Changes<'_>) -> Result {
    let mut differences = BTreeMap::new();
    for change in changes {
        // What is no text has no words.
        let words =
            |text: Option<&[u8]>| words(std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default());
        for word in words(change.after) {
            *differences.entry(word).or_insert(0_i64) += 1;
        }
        for word in words(change.before) {
            *differences.entry(word).or_insert(0_i64) -= 1;
        }
    }
    for (word, difference) in differences {
        match count_of(&word)? + difference {
            count if count > 0 => WORDS.put(word, count.to_string()),
            _ => drop(WORDS.delete(word)),
        }
    }
    Ok(())
}

/// Answers a word with its count.
fn answer(request: &[u8]) -> Result {
    let word = std::str::from_utf8(request).map_err(|_| "a word is UTF-8")?;
    reply(count_of(&word.to_lowercase())?.to_string());
    Ok(())
}

fn count_of(word: &str) -> Result<i64> {
    match WORDS.get(word) {
        Some(count) => {
            let count = String::from_utf8(count).ok().and_then(|count| count.parse().ok());
            count.ok_or_else(|| format!("the count of `{word}` is no number"))
        }
        None => Ok(0),
    }
}

/// The words of a text. What is longer than a word can be is left out: there is a limit on keys.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| (1..=100).contains(&word.len()));
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_letters_and_digits() {
        assert_eq!(super::words("One, two – ONE!"), ["one", "two", "one"]);
    }
}
