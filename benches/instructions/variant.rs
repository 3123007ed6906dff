//! Servers that differ in one thing that is on.

use crate::common::servers::Echo;
use polyserve::{AtLimit, Limit, Limits, Observer, Server, ServerHandle, Strategy, Timeouts};
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    Nothing,
    FirstByte,
    Idle,
    Message,
    WriteStall,
    HalfClosed,
    Marks,
    InputLimit,
    Connections,
    OldestIdle,
    PerAddress,
    TotalHeld,
    Observed,
    Everything,
}

impl Variant {
    pub(super) const ALL: [Variant; 14] = [
        Variant::Nothing,
        Variant::FirstByte,
        Variant::Idle,
        Variant::Message,
        Variant::WriteStall,
        Variant::HalfClosed,
        Variant::Marks,
        Variant::InputLimit,
        Variant::Connections,
        Variant::OldestIdle,
        Variant::PerAddress,
        Variant::TotalHeld,
        Variant::Observed,
        Variant::Everything,
    ];

    pub(super) fn describe(self) -> &'static str {
        match self {
            Variant::Nothing => "nothing",
            Variant::FirstByte => "`Timeouts::first_byte`, while its wake-up is set",
            Variant::Idle => "`Timeouts::idle`",
            Variant::Message => "`Timeouts::message`",
            Variant::WriteStall => "`Timeouts::write_stall`",
            Variant::HalfClosed => "`Timeouts::half_closed`",
            Variant::Marks => "`Limits::output_low`, `output_high`, `output_hard`",
            Variant::InputLimit => "`Limits::input`",
            Variant::Connections => "`Limits::max_connections`",
            Variant::OldestIdle => "`AtLimit::CloseOldestIdle` (not a default)",
            Variant::PerAddress => "`Limits::per_address` (not a default)",
            Variant::TotalHeld => "`Limits::total_held`",
            Variant::Observed => "an `Observer` that does nothing",
            Variant::Everything => "all of it: the defaults",
        }
    }

    pub(super) fn start(self, strategy: Strategy) -> ServerHandle {
        let mut builder = Server::builder()
            .backend(strategy)
            .limits(self.limits())
            .timeouts(self.timeouts())
            .bind("127.0.0.1:0")
            .expect("a free port on the loopback interface");
        if matches!(self, Variant::Observed | Variant::Everything) {
            builder = builder.observer(Deaf);
        }
        builder.spawn(|_| Echo).expect("the server starts")
    }

    fn limits(self) -> Limits {
        let on = Limits::default();
        if self == Variant::Everything {
            return on;
        }
        let mut limits = on.clone();
        limits.max_connections = Some(4_000); // as many as one can have
        limits.total_held = usize::MAX;
        (limits.output_low, limits.output_high) = (usize::MAX, usize::MAX);
        (limits.output_hard, limits.input) = (usize::MAX, usize::MAX);
        match self {
            Variant::Connections => limits.max_connections = Some(2),
            Variant::OldestIdle => limits.at_limit = AtLimit::CloseOldestIdle,
            Variant::PerAddress => limits.per_address = Limit::At(2),
            Variant::TotalHeld => limits.total_held = on.total_held,
            Variant::InputLimit => limits.input = on.input,
            Variant::Marks => {
                (limits.output_low, limits.output_high) = (on.output_low, on.output_high);
                limits.output_hard = on.output_hard;
            }
            _ => (),
        }
        limits
    }

    fn timeouts(self) -> Timeouts {
        let on = Timeouts::default();
        if self == Variant::Everything {
            return on;
        }
        let mut timeouts = on.clone();
        for one in [
            &mut timeouts.first_byte,
            &mut timeouts.idle,
            &mut timeouts.message,
            &mut timeouts.write_stall,
            &mut timeouts.half_closed,
        ] {
            *one = Limit::Unlimited;
        }
        // None of them may come to its end here, however slow the machine is.
        let long = Limit::At(Duration::from_secs(600));
        match self {
            Variant::FirstByte => timeouts.first_byte = long,
            Variant::Idle => timeouts.idle = on.idle,
            Variant::Message => timeouts.message = on.message,
            Variant::WriteStall => timeouts.write_stall = on.write_stall,
            Variant::HalfClosed => timeouts.half_closed = on.half_closed,
            _ => (),
        }
        timeouts
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|variant| format!("{variant:?}") == text);
        found.ok_or_else(|| format!("{text:?} is no variant"))
    }
}

/// Is told everything, and does nothing.
struct Deaf;

impl Observer for Deaf {}
