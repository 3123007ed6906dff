//! Systems that are not Unix.
