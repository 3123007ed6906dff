//! Lines up to an empty one: a head, or the trailers of a chunked body.

/// Finds the empty line that ends a section, without looking at a byte twice however slowly the
/// section comes.
///
/// It is asked again with the same bytes and more behind them until it has found the end; then it
/// is at the start of the next section.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// Where the first line begins, behind empty lines that were skipped.
    start: usize,
    /// Where the current line begins.
    line: usize,
    /// Up to here there is no LF but those of the lines before.
    searched: usize,
}

/// How long a section may be, empty lines before it included, and how long its first line. Line ends
/// count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) first_line: usize,
    pub(crate) all: usize,
}

/// A section that is there as a whole. Both ends are behind the LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Why there is no section. Which it is depends on the bytes alone, not on how they were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A line ends with LF alone. RFC 9112, 2.2 lets a server take it, but whoever stands in front
    /// of it may have seen one line where it sees two.
    BareLf,
    /// The first line is too long. This much of it was looked at.
    FirstLine { start: usize, end: usize },
    /// All of it is too long.
    TooLong,
}

impl Section {
    /// Skips empty lines at the start: RFC 9112, 2.2 asks a server to do so before a request.
    pub(crate) fn skip_empty_lines(&mut self, input: &[u8], bounds: Bounds) {
        while self.line == self.start
            && self.start < bounds.all
            && input[self.start..].starts_with(b"\r\n")
        {
            self.start += 2;
            self.line = self.start;
            self.searched = self.start;
        }
    }

    /// Looks for the end, which is behind the first empty line.
    pub(crate) fn find(&mut self, input: &[u8], bounds: Bounds) -> Result<Option<Found>, Problem> {
        loop {
            let limit = self.limit(bounds);
            let within = &input[..input.len().min(limit)];
            let Some(at) = memchr::memchr(b'\n', &within[self.searched..]) else {
                self.searched = within.len();
                return if within.len() < limit {
                    Ok(None)
                } else {
                    Err(self.too_long(limit, bounds))
                };
            };
            let lf = self.searched + at;
            if lf == self.line || input[lf - 1] != b'\r' {
                return Err(Problem::BareLf);
            }
            let is_empty = lf == self.line + 1;
            self.line = lf + 1;
            self.searched = lf + 1;
            if is_empty {
                let Section { start, line: end, .. } = std::mem::take(self);
                return Ok(Some(Found { start, end }));
            }
        }
    }

    fn limit(&self, bounds: Bounds) -> usize {
        match self.line == self.start {
            true => bounds.all.min(self.start + bounds.first_line),
            false => bounds.all,
        }
    }

    fn too_long(&self, limit: usize, bounds: Bounds) -> Problem {
        match limit < bounds.all {
            true => Problem::FirstLine { start: self.start, end: limit },
            false => Problem::TooLong,
        }
    }
}
