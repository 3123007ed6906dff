//! Requests as a person types them: words on a line, some of them in quotes.

use std::ops::Range;

/// The words of a line without quotes, as ranges of it.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += line[at..].iter().position(|b| !is_space(*b))?;
        let start = at;
        at = line[at..].iter().position(|b| ends_word(*b)).map_or(line.len(), |n| start + n);
        Some(start..at)
    })
}

/// The words of a line with quotes, one behind the other, and the range of each; `None` if a
/// quote is not closed, or closed within a word.
///
/// Between double quotes `\xHH`, `\n`, `\r`, `\t`, `\b` and `\a` mean one byte, and a backslash
/// takes any other byte as it is. Between single quotes only `\'` is special.
pub(crate) fn unquote(line: &[u8]) -> Option<(Vec<u8>, Vec<Range<usize>>)> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut ranges = Vec::new();
    let mut rest = skip_space(line);
    while !rest.is_empty() {
        let start = bytes.len();
        rest = skip_space(word(rest, &mut bytes)?);
        ranges.push(start..bytes.len());
    }
    Some((bytes, ranges))
}

/// Appends the first word of `rest`, and returns what is behind it.
fn word<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return Some(rest),
            [byte, ..] if ends_word(*byte) => return Some(rest),
            [b'"', within @ ..] => return closed(double_quoted(within, bytes)?),
            [b'\'', within @ ..] => return closed(single_quoted(within, bytes)?),
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}

/// What is behind a closing quote, which must end the word.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| is_space(*byte)).then_some(rest)
}

fn double_quoted<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let byte;
        (byte, rest) = match rest {
            [] => return None,
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'x', high, low, rest @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), rest)
            }
            [b'\\', escaped, rest @ ..] => (unescape(*escaped), rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        bytes.push(byte);
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let byte;
        (byte, rest) = match rest {
            [] => return None,
            [b'\'', rest @ ..] => return Some(rest),
            [b'\\', b'\'', rest @ ..] => (b'\'', rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        bytes.push(byte);
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// What may stand before a word, in the sense of isspace(3).
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// What ends a word that is in no quotes: Redis leaves vertical tabs and form feeds within.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// What is behind the white space at the start.
fn skip_space(text: &[u8]) -> &[u8] {
    &text[text.iter().position(|b| !is_space(*b)).unwrap_or(text.len())..]
}
