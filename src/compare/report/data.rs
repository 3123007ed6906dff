//! A report for programs, as CSV and as JSON.

use super::{CaseReport, Report};
use crate::compare::cell::{Cell, Sample};
use crate::compare::load::Point;
use crate::compare::verdict::Finding;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn csv(report: &Report) -> String {
    let mut text = "case,strategy,connections,in_flight,rate,idle,requests,throughput,p50_us,\
                    p99_us,p999_us,max_us,cpu_us,syscalls,threads,peak_memory,unanswered,\
                    load_busy\r\n"
        .to_owned();
    for case in &report.cases {
        for (contender, row) in case.contenders.iter().zip(&case.cells) {
            for (point, cell) in case.points.iter().zip(row) {
                text += &csv_line(case, contender, point, cell);
            }
        }
    }
    text
}

fn csv_line(case: &CaseReport, contender: &str, point: &Point, cell: &Cell) -> String {
    fn number<T: ToString>(number: Option<T>) -> String {
        number.map_or(String::new(), |number| number.to_string())
    }
    let micros = |time: Option<Duration>| {
        number(time.map(|time| format!("{:.3}", time.as_secs_f64() * 1e6)))
    };
    let fields = [
        csv_field(&case.name),
        csv_field(contender),
        point.connections.to_string(),
        point.in_flight.to_string(),
        number(point.rate),
        case.idle.to_string(),
        cell.requests().to_string(),
        format!("{:.1}", cell.throughput()),
        micros(cell.latency(0.5)),
        micros(cell.latency(0.99)),
        micros(cell.latency(0.999)),
        micros(cell.latency(1.0)),
        micros(cell.cpu()),
        number(cell.syscalls().map(|n| format!("{n:.3}"))),
        number(cell.threads()),
        number(cell.peak_memory()),
        cell.unanswered().to_string(),
        format!("{:.3}", cell.load_busy()),
    ];
    fields.join(",") + "\r\n"
}

fn csv_field(text: &str) -> String {
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

pub(super) fn json(report: &Report) -> String {
    let value = json!({
        "polyserve": env!("CARGO_PKG_VERSION"),
        "system": report.system,
        "warnings": report.warnings,
        "rounds": report.rounds,
        "seed": report.seed,
        "margin": report.margin,
        "confidence": report.confidence,
        "cases": report.cases.iter().map(case_json).collect::<Vec<_>>(),
    });
    format!("{value:#}")
}

fn case_json(case: &CaseReport) -> Value {
    let cells = case.contenders.iter().zip(&case.cells).flat_map(|(contender, row)| {
        case.points.iter().zip(row).map(move |(point, cell)| cell_json(contender, point, cell))
    });
    let profile = case.profile.map(|profile| {
        json!({
            "kind": format!("{:?}", profile.kind()).to_lowercase(),
            "cpu": nanos(profile.cpu),
            "waits": nanos(profile.waits),
        })
    });
    json!({
        "name": case.name,
        "idle": case.idle,
        "handler": profile,
        "verdict": case.verdict.sentences,
        "findings": case.verdict.findings.iter().map(|f| finding_json(case, f)).collect::<Vec<_>>(),
        "cells": cells.collect::<Vec<_>>(),
    })
}

fn cell_json(contender: &str, point: &Point, cell: &Cell) -> Value {
    json!({
        "strategy": contender,
        "load": point_json(point),
        "requests": cell.requests(),
        "throughput": cell.throughput(),
        "p50": cell.latency(0.5).map(nanos),
        "p99": cell.latency(0.99).map(nanos),
        "p999": cell.latency(0.999).map(nanos),
        "max": cell.latency(1.0).map(nanos),
        "cpu": cell.cpu().map(nanos),
        "syscalls": cell.syscalls(),
        "threads": cell.threads(),
        "peak_memory": cell.peak_memory(),
        "unanswered": cell.unanswered(),
        "load_busy": cell.load_busy(),
        "rounds": cell.rounds().iter().map(sample_json).collect::<Vec<_>>(),
    })
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "requests": sample.requests,
        "throughput": sample.throughput,
        "p50": nanos(sample.p50),
        "p99": sample.p99.map(nanos),
        "cpu": sample.cpu.map(nanos),
        "load_busy": sample.load_busy,
        "unanswered": sample.unanswered,
    })
}

fn finding_json(case: &CaseReport, finding: &Finding) -> Value {
    json!({
        "metric": finding.metric.to_string(),
        "load": point_json(&case.points[finding.point]),
        "first": case.contenders[finding.first],
        "second": case.contenders[finding.second],
        "outcome": format!("{:?}", finding.outcome),
        "ratio": finding.ratio,
        // Infinite is null.
        "low": finding.low,
        "high": finding.high,
        "load_bound": finding.is_load_bound,
    })
}

fn point_json(point: &Point) -> Value {
    json!({
        "connections": point.connections,
        "in_flight": point.in_flight,
        "rate": point.rate,
    })
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}
