//! Limits that can be turned off, but only by saying so.

/// A limit, or the explicit word that there is none.
///
/// Setters take `impl Into<Limit<T>>`, so that a plain value sets a limit, and turning one off has
/// to be written out. No value of `T` means "no limit" by accident, zero included.
///
/// ```
/// use polyserve::Limit;
/// use std::time::Duration;
///
/// assert_eq!(Limit::from(Duration::ZERO), Limit::At(Duration::ZERO));
/// assert_eq!(Limit::<Duration>::Unlimited.get(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit<T> {
    /// This far and no further.
    At(T),
    /// No limit.
    Unlimited,
}

impl<T> Limit<T> {
    /// The limit, or `None` where there is none.
    pub fn get(self) -> Option<T> {
        match self {
            Limit::At(value) => Some(value),
            Limit::Unlimited => None,
        }
    }
}

impl<T> From<T> for Limit<T> {
    fn from(value: T) -> Self {
        Limit::At(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Limit;

    #[test]
    fn a_plain_value_is_a_limit() {
        assert_eq!(Limit::from(0), Limit::At(0));
        assert_eq!(Limit::from(7).get(), Some(7));
        assert_eq!(Limit::<u8>::Unlimited.get(), None);
    }
}
