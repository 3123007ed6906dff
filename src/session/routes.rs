//! How to reach each connection, in little space: the backends' wakers are few, and are kept once.

use super::blocking::BlockingHandle;
use crate::handler::Wake;
use std::collections::HashMap;
use std::sync::Arc;

/// How to have a session look again.
#[derive(Clone)]
pub(crate) enum Reach {
    Nobody,
    /// A backend that waits for it.
    Wake(Arc<dyn Wake>, u64),
    /// A thread that may block in its read.
    Thread(Arc<BlockingHandle>),
}

/// A [`Reach`] in the table: the number of a waker in place of the waker.
#[derive(Default)]
pub(super) enum Route {
    #[default]
    Nobody,
    Wake(u32, u64),
    Thread(Arc<BlockingHandle>),
}

/// The wakers that there are, each with the number of the connections that it wakes. A backend has
/// one for many connections; one of a user may have one for each.
#[derive(Default)]
pub(super) struct Wakers {
    all: Vec<Option<(Arc<dyn Wake>, usize)>>,
    /// Where each is, by its address.
    numbers: HashMap<usize, u32>,
    free: Vec<u32>,
}

impl Wakers {
    /// Keeps how to reach a connection.
    pub(super) fn keep(&mut self, reach: Reach) -> Route {
        match reach {
            Reach::Nobody => Route::Nobody,
            Reach::Thread(handle) => Route::Thread(handle),
            Reach::Wake(wake, key) => Route::Wake(self.number_of(wake), key),
        }
    }

    fn number_of(&mut self, wake: Arc<dyn Wake>) -> u32 {
        let Self { all, numbers, free } = self;
        let number = *numbers.entry(address(&wake)).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                all.push(None);
                u32::try_from(all.len() - 1).expect("fewer than 2^32 descriptors")
            })
        });
        all[number as usize].get_or_insert((wake, 0)).1 += 1;
        number
    }

    /// What was kept.
    pub(super) fn find(&self, route: &Route) -> Reach {
        match route {
            Route::Nobody => Reach::Nobody,
            Route::Thread(handle) => Reach::Thread(Arc::clone(handle)),
            Route::Wake(number, key) => match &self.all[*number as usize] {
                Some((wake, _)) => Reach::Wake(Arc::clone(wake), *key),
                None => Reach::Nobody,
            },
        }
    }

    /// Forgets what was kept, and returns what nobody else may hold any more.
    pub(super) fn forget(&mut self, route: Route) -> Reach {
        let reach = self.find(&route);
        if let Route::Wake(number, _) = route
            && let Some((wake, uses)) = &mut self.all[number as usize]
        {
            *uses -= 1;
            if *uses == 0 {
                self.numbers.remove(&address(wake));
                self.all[number as usize] = None;
                self.free.push(number);
            }
        }
        reach
    }
}

/// What tells one waker from another as long as both are kept.
fn address(wake: &Arc<dyn Wake>) -> usize {
    Arc::as_ptr(wake).cast::<()>().addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nap;

    impl Wake for Nap {
        fn wake(&self, _key: u64) {}
    }

    #[test]
    fn a_waker_is_kept_once_and_as_long_as_it_is_of_use() {
        let mut wakers = Wakers::default();
        let [first, second]: [Arc<dyn Wake>; 2] = [Arc::new(Nap), Arc::new(Nap)];
        let mut keep = |wake: &Arc<dyn Wake>, key| wakers.keep(Reach::Wake(Arc::clone(wake), key));
        let routes = [keep(&first, 1), keep(&second, 2), keep(&first, 3)];
        for (route, (wake, key)) in routes.iter().zip([(&first, 1), (&second, 2), (&first, 3)]) {
            let Reach::Wake(found, found_key) = wakers.find(route) else { panic!("it is gone") };
            assert!(Arc::ptr_eq(&found, wake) && found_key == key);
        }
        assert_eq!((Arc::strong_count(&first), wakers.all.len()), (2, 2));
        for route in routes {
            wakers.forget(route);
        }
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
        assert!(wakers.numbers.is_empty() && wakers.free.len() == 2);
        assert!(matches!(wakers.keep(Reach::Wake(first, 4)), Route::Wake(0 | 1, 4)));
    }
}
