//! The questions that every backend has to answer alike.
//!
//! What the [`Handler`] promises holds on every backend, and this suite is how that is known: each
//! question starts a server on a free port, talks to it through real sockets, and compares. In a
//! test file of yours, two lines ask them all, each as a test of its own:
//!
//! ```
//! polyserve::conformance!(event_loop, || polyserve::EventLoop::new().loops(2));
//! polyserve::conformance!(my_own_pool, || polyserve::ThreadPool::new(2)); // or a backend of yours
//! ```
//!
//! Besides what it asks for, each question checks on the way that callbacks came in order and never
//! overlapped, that input that was left was shown again, that every handler was dropped, and at the
//! end that the counters agree and that nothing is left of the server.
//!
//! No question waits for time to pass: each waits for what should happen, for at most a few seconds,
//! and says what it waited for if that did not happen.

mod admission;
mod bytes;
mod checker;
mod client;
#[cfg(test)]
mod coverage;
mod crowd;
mod drain;
mod ends;
mod events;
mod families;
mod flow;
mod framed;
mod group;
mod limits;
mod lingering;
mod list;
mod panics;
mod push;
mod reentry;
mod role;
mod stage;
mod times;

pub use stage::Failure;

use crate::backend::Backend;
use crate::handler::Handler;
use crate::layer::Layer;
use stage::{Asked, Stage};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// How long a question may take in all. It is reached only if something hangs that has no deadline
/// of its own, such as the start of a server.
const WATCHDOG: Duration = Duration::from_secs(30);

/// One question, with a name that says what is expected.
#[derive(Clone, Copy)]
pub struct Question {
    name: &'static str,
    needs_plain_bytes: bool,
    ask: fn(&Stage) -> Asked,
}

impl Question {
    /// The question's name, which is also that of its test.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the question is about the socket itself (urgent data, the number of writes, sockets
    /// that are taken out of the server), so that it cannot be asked through a layer.
    pub fn needs_plain_bytes(&self) -> bool {
        self.needs_plain_bytes
    }

    /// Asks it.
    ///
    /// # Errors
    /// The answer was wrong, or did not come in time. Also if the question needs plain bytes and
    /// the subject has a layer.
    pub fn ask(&self, subject: &Subject) -> Result<(), Failure> {
        if self.needs_plain_bytes && subject.layers.is_some() {
            return Err(Failure::new("this question cannot be asked through a layer"));
        }
        let (done, outcome) = mpsc::channel();
        let (question, stage) = (*self, Stage::new(subject.clone()));
        let perform = move || {
            let asked = catch_unwind(AssertUnwindSafe(|| stage.perform(question.ask)));
            let _ = done.send(asked);
        };
        let thread = std::thread::Builder::new().name(self.name.to_owned()).spawn(perform);
        thread.map_err(|e| Failure::new(format!("no thread to ask on: {e}")))?;
        match outcome.recv_timeout(WATCHDOG) {
            Ok(Ok(asked)) => asked,
            Ok(Err(payload)) => {
                let message = crate::connection::panic_message(payload);
                Err(Failure::new(format!("the question itself panicked: {message}")))
            }
            Err(_) => Err(Failure::new(format!("the end of the question within {WATCHDOG:?}"))),
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("name", &self.name)
            .field("needs_plain_bytes", &self.needs_plain_bytes)
            .finish_non_exhaustive()
    }
}

/// Who is asked: a backend, and what is put between it and the questions.
#[derive(Clone)]
pub struct Subject {
    make: Arc<dyn Fn() -> Box<dyn Backend> + Send + Sync>,
    wrap: Option<Arc<Wrap>>,
    layers: Option<Arc<Layers>>,
}

type Wrap = dyn Fn(Box<dyn Handler>) -> Box<dyn Handler> + Send + Sync;

struct Layers {
    server: Box<dyn Fn() -> Box<dyn Layer> + Send + Sync>,
    client: Box<dyn Fn() -> Box<dyn Layer> + Send + Sync>,
}

impl Subject {
    /// The backend that `make` makes, one for each server.
    pub fn new<B: Backend>(make: impl Fn() -> B + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(move || Box::new(make())), wrap: None, layers: None }
    }

    /// Puts something between the backend and each handler, for example something that breaks a
    /// promise, to see that a question finds out.
    pub fn wrap(
        mut self,
        wrap: impl Fn(Box<dyn Handler>) -> Box<dyn Handler> + Send + Sync + 'static,
    ) -> Self {
        self.wrap = Some(Arc::new(wrap));
        self
    }

    /// Has all that the questions say to the server pass through a layer: `server` makes its end
    /// of it for each connection, `client` the other end.
    pub fn layer<S: Layer, C: Layer>(
        mut self,
        server: impl Fn() -> S + Send + Sync + 'static,
        client: impl Fn() -> C + Send + Sync + 'static,
    ) -> Self {
        self.layers = Some(Arc::new(Layers {
            server: Box::new(move || Box::new(server())),
            client: Box::new(move || Box::new(client())),
        }));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("backend", &(self.make)())
            .field("wrapped", &self.wrap.is_some())
            .field("layered", &self.layers.is_some())
            .finish()
    }
}

/// All questions, in the order of their themes.
pub fn questions() -> &'static [Question] {
    list::QUESTIONS
}

/// Asks the question of this name.
///
/// # Errors
/// As [`Question::ask`], and if there is no such question.
pub fn ask(name: &str, subject: &Subject) -> Result<(), Failure> {
    match questions().iter().find(|question| question.name == name) {
        Some(question) => question.ask(subject),
        None => Err(Failure::new(format!("there is no question `{name}`"))),
    }
}

/// Makes a module with one `#[test]` for each question of the
/// [conformance suite](crate::testing::conformance).
///
/// ```
/// polyserve::conformance!(threads, || polyserve::ThreadPerConnection::new());
/// ```
///
/// With `subject =`, a [`Subject`] is given in place of a
/// closure. With `layered =`, it is one that has a layer, and the questions that need plain bytes
/// are left out.
#[macro_export]
macro_rules! conformance {
    ($module:ident, subject = $subject:expr) => {
        $crate::__conformance_module!($module, any, $subject);
    };
    ($module:ident, layered = $subject:expr) => {
        $crate::__conformance_module!($module, layered, $subject);
    };
    ($module:ident, $make:expr) => {
        $crate::__conformance_module!(
            $module,
            any,
            $crate::testing::conformance::Subject::new($make)
        );
    };
}

/// The module that `conformance!` makes.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_module {
    ($module:ident, $kind:ident, $subject:expr) => {
        #[cfg(test)]
        mod $module {
            #[allow(unused_imports)]
            use super::*;

            fn subject() -> $crate::testing::conformance::Subject {
                $subject
            }

            $crate::__conformance_questions!([$crate::__conformance_test] $kind);
        }
    };
}

/// One test of the module that `conformance!` makes.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test {
    (layered plain $theme:ident $name:ident) => {};
    ($kind:ident $needs:ident $theme:ident $name:ident) => {
        #[test]
        fn $name() {
            if let Err(failure) = $crate::testing::conformance::ask(stringify!($name), &subject()) {
                panic!("{failure}");
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_many_questions_and_each_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = questions().iter().map(Question::name).collect();
        assert_eq!(names.len(), questions().len());
        assert!(names.len() >= 60, "only {} questions", names.len());
    }

    #[test]
    fn an_unknown_question_is_an_error() {
        let subject = Subject::new(crate::EventLoop::new);
        let failure = ask("why", &subject).unwrap_err();
        assert_eq!(failure.to_string(), "there is no question `why`");
    }
}
