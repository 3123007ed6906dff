//! Which strategy is best for a handler of yours (feature `compare`).
//!
//! A [`Comparison`] takes handlers, a [`Load`] for each, and the strategies to compare, backends of
//! your own among them. It runs them in interleaved rounds, checks every response, and makes a
//! [`Report`]: throughput, latencies, CPU time, system calls, threads and memory for each strategy,
//! and a [`Verdict`] in plain words that claims no more than the rounds prove. A report prints as
//! tables and is saved as HTML with plots, as CSV and as JSON.
//!
//! ```no_run
//! // no_run: it takes half a minute, and starts this program again for each server.
//! use polyserve::compare::{Comparison, Load};
//! use polyserve::{Action, BoxError, Context, Handler, Input, Strategy};
//!
//! struct Echo;
//! impl Handler for Echo {
//!     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
//!         cx.send(input.take());
//!         Ok(Action::Continue)
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let report = Comparison::new()
//!         .strategies([Strategy::Threads, Strategy::Pool(Some(4)), Strategy::EventLoop(Some(1))])
//!         .case("echo", Load::echo(64).connections([1, 64]), |_peer| Echo)
//!         .run()?;
//!     println!("{report}");
//!     println!("{}", report.save("target/compare")?.display());
//!     Ok(())
//! }
//! ```
//!
//! [`Comparing strategies`](crate::_documentation::comparing) tells how to read a report, and what
//! its words mean. [`benches`] brings the strategies into a criterion bench of yours.
//!
//! # What is measured where
//!
//! | figure | how | where |
//! |---|---|---|
//! | throughput, latencies | by the load, each response checked | everywhere |
//! | CPU time of the server, profile of the handler | `CLOCK_PROCESS_CPUTIME_ID`, `CLOCK_THREAD_CPUTIME_ID` | Unix |
//! | threads, peak memory | `/proc/self/status` | Linux, servers in processes of their own |
//! | system calls | `perf stat`, after the rounds | Linux, where `perf` is installed and may count; as before |
//!
//! What is missing is missing in the report as well, and nothing else changes.

mod bench;
mod cell;
mod comparison;
mod error;
mod host;
mod latency;
mod load;
mod measure;
mod progress;
mod report;
mod rounds;
mod verdict;

pub use bench::{Bench, benches};
pub use cell::{Cell, Sample};
pub use comparison::Comparison;
pub use error::{CompareError, LoadError};
pub use host::profile::{HandlerKind, Profile};
pub use load::{CodecExchange, EchoExchange, Exchange, FixedExchange, Load, Point, exchange};
pub use report::{CaseReport, Report};
pub use verdict::{Finding, Metric, Outcome, Verdict};
