//! The patterns of KEYS, SCAN and CONFIG GET.
//!
//! The crates for globs match paths, which are text: a `*` that stops at slashes, `{a,b}`, `[!a]`.
//! Redis matches bytes, has none of that, and has `[^a]` and `\`.

/// Whether `text` matches `pattern`: `*` is any bytes, `?` one, `[a-c]` one of a class and `[^a-c]`
/// one that is not, and a backslash takes what follows it as it is.
///
/// The time is bounded by the product of the lengths: only the last star is ever tried again.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star, and the byte that it takes next.
    let mut retry = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(_) => text.get(t).and_then(|byte| one(&pattern[p..], *byte)),
            None if t == text.len() => return true,
            None => None,
        };
        match (step, retry) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((after, next))) if next < text.len() => {
                (p, t) = (after, next + 1);
                retry = Some((after, next + 1));
            }
            (None, _) => return false,
        }
    }
}

/// The length of the pattern's first element, which is no star, if the byte matches it.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', ..] => class(pattern, byte),
        // A backslash at the very end stands for itself.
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// As [`one`], for a class. One that is not closed ends with the pattern.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match &pattern[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_what_they_match_in_redis() {
        for (pattern, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "a/b", "\n"], &[]),
            ("**", &["", "abc"], &[]),
            ("a*c", &["ac", "abc", "abcbc"], &["a", "ab", "acb", "bac"]),
            ("*a*b*", &["ab", "xaxbx", "aab"], &["ba", "a", "b"]),
            ("?", &["a", "?"], &["", "ab"]),
            ("h?llo", &["hello", "hallo"], &["hllo", "heello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo"]),
            ("h[^e]llo", &["hallo", "h^llo"], &["hello", "hllo"]),
            ("[a-c]", &["a", "b", "c"], &["d", "-", ""]),
            ("[c-a]", &["a", "b", "c"], &["d", "-"]),
            // The range goes on to the bracket, and the class to the end of the pattern.
            ("[a-]", &["a", "]", "^"], &["b", "-"]),
            ("[\\]x]", &["]", "x"], &["\\", "a"]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("a\\", &["a\\"], &["a"]),
            ("[", &[], &["[", ""]),
            ("[ab", &["a", "b"], &["c", "[ab"]),
            ("[]", &[], &["", "a", "]", "[]"]),
            ("[^]", &["a"], &[""]),
            ("{a,b}", &["{a,b}"], &["a", "b"]),
        ] {
            yes.iter()
                .for_each(|t| assert!(matches(pattern.as_bytes(), t.as_bytes()), "{pattern} {t}"));
            no.iter()
                .for_each(|t| assert!(!matches(pattern.as_bytes(), t.as_bytes()), "{pattern} {t}"));
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let text = vec![b'a'; 5000];
        assert!(!matches(&[b"*a".repeat(1000).as_slice(), b"b"].concat(), &text));
    }
}
