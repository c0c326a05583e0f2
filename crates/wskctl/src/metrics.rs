//! `wskctl metrics`: figures as OpenMetrics text.
//!
//! The text is for two readers: whoever follows OpenMetrics, and the textfile collector of Prometheus' windows_exporter, which reads
//! the older text format. So there are counters and gauges alone (the older one has no other type that would do), no
//! timestamps (the collector refuses them), and `# UNIT` and `# EOF`, which are comments there.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use control_abi::services::{Service, ServiceState};
use control_abi::version::{CAN_CHANGE_SERVICES, Version};
use control_abi::{Gate, PoolUse, Registration, State, Totals};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::failure::Failure;
use crate::services::kind;
use crate::status::{driver_version, tag};
use crate::text::seconds;
use crate::tool::{Tool, name_of};

/// Where to.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Write them to this file, which changes in one step, instead of standard output
    #[arg(short, long, value_name = "FILE.prom")]
    output: Option<PathBuf>,
}

/// Prints them.
pub(crate) fn run(tool: &Tool, arguments: &Arguments) -> Result<(), Failure> {
    if tool.output().is_json() {
        return Err(Failure::usage("metrics are OpenMetrics text; `wskctl status --json` has the figures as JSON".to_owned()));
    }
    let version = tool.version()?;
    let services = if version.capabilities & CAN_CHANGE_SERVICES != 0 { tool.services()? } else { Vec::new() };
    let mut registry = Registry::with_prefix("wskclient");
    registry.register_collector(Box::new(Seen { version, state: tool.state()?, services }));
    let mut metrics = String::new();
    text::encode(&mut metrics, &registry).map_err(|_| Failure::Output(std::io::Error::other("metrics could not be written")))?;
    match &arguments.output {
        Some(path) => write(path, &metrics).map_err(|error| Failure::File(path.clone(), error)),
        None => tool.output().line(metrics.trim_end()),
    }
}

/// Whoever reads the file meanwhile sees the old text or the new one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, path)
}

/// What was seen of the driver.
#[derive(Debug)]
struct Seen {
    version: Version,
    state: State,
    services: Vec<Service>,
}

/// A figure: its name, what it says, and how it is taken.
type Figure<T> = (&'static str, &'static str, Option<Unit>, MetricType, fn(&T) -> f64);

const COUNTER: MetricType = MetricType::Counter;
const GAUGE: MetricType = MetricType::Gauge;

const STATE: &[Figure<State>] = &[
    ("registered", "Whether the driver is registered with WSK.", None, GAUGE, |state| {
        flag(state.registration == Registration::In.to_wire())
    }),
    ("attached", "Whether the driver is attached to a provider of WSK and admits new work.", None, GAUGE, |state| {
        flag(state.gate == Gate::Open.to_wire())
    }),
    ("attachments", "Attachments since the driver was loaded.", None, COUNTER, |state| state.generation as f64),
    ("loaded", "Time since the driver was loaded.", Some(Unit::Seconds), GAUGE, |state| seconds(state.loaded_us)),
    ("sockets", "Open sockets.", None, GAUGE, |state| state.sockets.into()),
    ("sockets_most", "The most sockets that were open at a time.", None, GAUGE, |state| state.peaks.sockets as f64),
    ("calls", "Calls to the provider in flight.", None, GAUGE, |state| state.in_flight.into()),
];

const TOTALS: &[Figure<Totals>] = &[
    ("connections", "Connections that are served now.", None, GAUGE, |totals| totals.connections as f64),
    ("connections_accepted", "Connections accepted.", None, COUNTER, |totals| totals.accepted as f64),
    ("connections_refused", "Connections refused because of a limit.", None, COUNTER, |totals| totals.refused as f64),
    ("connections_failed", "Connections that ended with an error.", None, COUNTER, |totals| totals.failed as f64),
    ("connections_idle", "Connections that were ended for being idle.", None, COUNTER, |totals| totals.idle as f64),
    ("received", "Data received.", Some(Unit::Bytes), COUNTER, |totals| totals.received as f64),
    ("sent", "Data sent.", Some(Unit::Bytes), COUNTER, |totals| totals.sent as f64),
    ("held", "Memory held by connections.", Some(Unit::Bytes), GAUGE, |totals| totals.held as f64),
    ("datagrams", "Datagrams received.", None, COUNTER, |totals| totals.datagrams as f64),
    ("datagrams_answered", "Datagrams answered.", None, COUNTER, |totals| totals.answered as f64),
    ("datagrams_ignored", "Datagrams that were not to be answered.", None, COUNTER, |totals| totals.ignored as f64),
];

const SERVICE: &[Figure<Service>] = &[
    ("running", "Whether the service listens at all of its addresses.", None, GAUGE, |service| {
        flag(service.state == ServiceState::Running.to_wire())
    }),
    ("listening", "Addresses at which the service listens.", None, GAUGE, |service| service.listening.into()),
    ("places", "Addresses at which the service is to listen.", None, GAUGE, |service| service.places.into()),
];

const POOL: &[Figure<PoolUse>] = &[
    ("pool", "Nonpaged pool held.", Some(Unit::Bytes), GAUGE, |pool| pool.bytes as f64),
    ("pool_most", "The most nonpaged pool that was held at a time.", Some(Unit::Bytes), GAUGE, |pool| pool.peak as f64),
    ("pool_allocations", "Allocations of nonpaged pool.", None, GAUGE, |pool| pool.allocations as f64),
];

const fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

impl Collector for Seen {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (driver, protocol) = (driver_version(&self.version), self.version.version.to_string());
        let labels = vec![("version", driver), ("protocol", protocol)];
        let about = ("build", "Which driver it is: its version is in the labels.", None, GAUGE, (|()| 1.0) as fn(&()) -> f64);
        family(&mut encoder, "", &about, &[(labels, ())])?;
        // These are never 0, where the driver says them.
        let is_said = |(name, .., take): &&Figure<State>| !matches!(*name, "loaded" | "sockets_most") || take(&self.state) > 0.0;
        STATE.iter().filter(is_said).try_for_each(|figure| family(&mut encoder, "", figure, &[(Vec::new(), self.state)]))?;
        TOTALS.iter().try_for_each(|figure| family(&mut encoder, "", figure, &[(Vec::new(), self.state.totals)]))?;
        let pools: Vec<_> = self.state.pool().iter().map(|pool| (vec![("tag", tag(pool))], *pool)).collect();
        POOL.iter().try_for_each(|figure| family(&mut encoder, "", figure, &pools))?;
        let services: Vec<_> = self.services.iter().map(|service| (labels_of(service), *service)).collect();
        SERVICE.iter().try_for_each(|figure| family(&mut encoder, "service_", figure, &services))?;
        let totals: Vec<_> = self.services.iter().map(|service| (labels_of(service), service.totals)).collect();
        TOTALS.iter().try_for_each(|figure| family(&mut encoder, "service_", figure, &totals))
    }
}

/// The labels of a metric.
type Labels = Vec<(&'static str, String)>;

fn labels_of(service: &Service) -> Labels {
    vec![("service", name_of(service).to_owned()), ("kind", kind(&service.settings).into())]
}

/// A figure of several things.
fn family<T>(encoder: &mut DescriptorEncoder<'_>, prefix: &str, figure: &Figure<T>, of: &[(Labels, T)]) -> fmt::Result {
    let (name, help, unit, metric_type, take) = figure;
    if of.is_empty() {
        return Ok(());
    }
    let name = format!("{prefix}{name}");
    let mut family = encoder.encode_descriptor(&name, help, unit.as_ref(), *metric_type)?;
    for (labels, one) in of {
        let value = take(one);
        match labels.is_empty() {
            true => metric(&mut family, *metric_type, value)?,
            false => metric(&mut family.encode_family(labels)?, *metric_type, value)?,
        }
    }
    Ok(())
}

fn metric(encoder: &mut MetricEncoder<'_>, metric_type: MetricType, value: f64) -> fmt::Result {
    match metric_type {
        MetricType::Counter => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
        _ => encoder.encode_gauge(&value),
    }
}
