//! What was measured, and what it comes to.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

use std::{collections::BTreeMap, time::Duration};

use crate::{client::Answers, contender::Contender};

/// One contender's figures of one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Requests a second, without a rate.
    per_second: f64,
    /// Processor time a request, microseconds.
    cost_us: f64,
    /// The share of the wall time that the processes were running.
    busy: f64,
    /// Latencies without a rate, microseconds: the median and the 99th percentile.
    latency_us: [f64; 2],
    /// The same, at the rate.
    paced_us: [f64; 2],
    /// Processor time a request at the rate, microseconds.
    paced_cost_us: f64,
    /// Resident memory, mebibytes.
    resident_mib: f64,
    /// Processor time a request of each thread, microseconds.
    threads_us: BTreeMap<String, f64>,
}

impl Sample {
    /// The figures of a load without a rate.
    pub(crate) fn new(
        answers: &Answers,
        processor: Duration,
        before: &[(String, Duration)],
        after: &[(String, Duration)],
        resident_kib: u64,
    ) -> Self {
        let requests = number(answers.count().max(1));
        let mut threads_us = BTreeMap::new();
        for (name, time) in after {
            *threads_us.entry(name.clone()).or_default() += time.as_secs_f64() * 1e6 / requests;
        }
        for (name, time) in before {
            *threads_us.entry(name.clone()).or_default() -= time.as_secs_f64() * 1e6 / requests;
        }
        Self {
            per_second: requests / answers.took.as_secs_f64(),
            cost_us: processor.as_secs_f64() * 1e6 / requests,
            busy: processor.as_secs_f64() / answers.took.as_secs_f64(),
            latency_us: [answers.quantile_us(0.5), answers.quantile_us(0.99)],
            paced_us: [0.0; 2],
            paced_cost_us: 0.0,
            resident_mib: number(resident_kib) / 1024.0,
            threads_us,
        }
    }

    /// Adds the latencies of a load at a rate.
    pub(crate) fn pace(&mut self, answers: &Answers, processor: Duration) {
        self.paced_us = [answers.quantile_us(0.5), answers.quantile_us(0.99)];
        self.paced_cost_us = processor.as_secs_f64() * 1e6 / number(answers.count().max(1));
    }
}

/// All figures.
#[derive(Debug)]
pub(crate) struct Results(Vec<(Contender, u64, Vec<Sample>)>);

impl Results {
    /// For these contenders, with their memory before any load, kibibytes.
    pub(crate) fn new(contenders: impl Iterator<Item = (Contender, u64)>) -> Self {
        Self(contenders.map(|(contender, idle_kib)| (contender, idle_kib, Vec::new())).collect())
    }

    /// Adds a round of one of them.
    pub(crate) fn add(&mut self, contender: Contender, sample: &Sample) {
        self.0.iter_mut().filter(|own| own.0 == contender).for_each(|own| own.2.push(sample.clone()));
    }

    fn samples(&self, contender: Contender) -> &[Sample] {
        self.0.iter().find(|own| own.0 == contender).map_or(&[], |(_, _, samples)| samples)
    }

    /// Prints the table, the threads of those that have several, and the ratios.
    pub(crate) fn show(&self) {
        println!(
            "\n{:<16}{:>9}{:>10}{:>16}{:>7}{:>9}{:>9}{:>10}{:>10}{:>10}{:>9}{:>9}",
            "",
            "req/s",
            "CPU µs",
            "min … max",
            "busy",
            "p50 µs",
            "p99 µs",
            "CPU @rate",
            "p50 @rate",
            "p99 @rate",
            "MiB",
            "idle MiB"
        );
        for (contender, idle_kib, samples) in &self.0 {
            let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure).collect()).unwrap_or(f64::NAN);
            let (least, most) = samples.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), sample| {
                (least.min(sample.cost_us), most.max(sample.cost_us))
            });
            println!(
                "{:<16}{:>9.0}{:>10.2}{:>16}{:>6.0}%{:>9.0}{:>9.0}{:>10.2}{:>10.0}{:>10.0}{:>9.1}{:>9.1}",
                contender.name(),
                of(|sample| sample.per_second),
                of(|sample| sample.cost_us),
                format!("{least:.1} … {most:.1}"),
                100.0 * of(|sample| sample.busy),
                of(|sample| sample.latency_us[0]),
                of(|sample| sample.latency_us[1]),
                of(|sample| sample.paced_cost_us),
                of(|sample| sample.paced_us[0]),
                of(|sample| sample.paced_us[1]),
                of(|sample| sample.resident_mib),
                number(*idle_kib) / 1024.0,
            );
        }
        println!();
        for (contender, _, samples) in &self.0 {
            let Some(threads) = samples.last().map(|sample| sample.threads_us.keys()) else { continue };
            let threads: Vec<_> = threads
                .filter_map(|name| {
                    let times = samples.iter().filter_map(|sample| sample.threads_us.get(name).copied()).collect();
                    median(times).filter(|time| *time >= 0.05).map(|time| format!("{name} {time:.2}"))
                })
                .collect();
            if threads.len() > 1 {
                println!("{:<16}CPU µs by thread: {}", contender.name(), threads.join(", "));
            }
        }
        self.show_ratios();
    }

    /// The ratios of each round by itself, since the machine is not the same in all of them: median and spread.
    fn show_ratios(&self) {
        println!();
        for Ratio { what, above, below, figure, goal } in RATIOS {
            let pairs = self.samples(above).iter().zip(self.samples(below));
            let mut ratios: Vec<_> = pairs.map(|(above, below)| figure(above) / figure(below)).collect();
            ratios.sort_by(f64::total_cmp);
            let (Some(middle), Some(least), Some(most)) = (median(ratios.clone()), ratios.first(), ratios.last())
            else {
                continue;
            };
            println!("{what:<42}{middle:>6.3}   {least:.3} … {most:.3}   {goal}");
        }
    }
}

/// A figure of one contender, divided by that of another.
struct Ratio {
    what: &'static str,
    above: Contender,
    below: Contender,
    figure: fn(&Sample) -> f64,
    goal: &'static str,
}

const fn ratio(
    what: &'static str,
    (above, below): (Contender, Contender),
    figure: fn(&Sample) -> f64,
    goal: &'static str,
) -> Ratio {
    Ratio { what, above, below, figure, goal }
}

const RATIOS: [Ratio; 12] = {
    use Contender::{Envoy, EnvoyAll, Haproxy, Nginx, NginxBuffered, Weir, WeirAll, WeirJwt, WeirOff};
    const COST: fn(&Sample) -> f64 = |sample| sample.cost_us;
    [
        ratio("CPU, Weir ÷ nginx", (Weir, Nginx), COST, "goal ≤ 1.0"),
        ratio("CPU, Weir ÷ nginx with a buffered log", (Weir, NginxBuffered), COST, ""),
        ratio("CPU, Weir ÷ HAProxy", (Weir, Haproxy), COST, ""),
        ratio("CPU, Weir ÷ Envoy with OTLP", (Weir, Envoy), COST, "goal ≤ 0.25"),
        ratio("CPU, the same, every trace kept", (WeirAll, EnvoyAll), COST, "goal ≤ 0.25"),
        ratio("CPU, Weir with JWT ÷ without", (WeirJwt, Weir), COST, "goal ≤ 1.3"),
        ratio("p99 at the rate, Weir ÷ nginx", (Weir, Nginx), |own| own.paced_us[1], "goal ≤ 1.0"),
        ratio("p99, closed loop, Weir ÷ nginx", (Weir, Nginx), |own| own.latency_us[1], "goal ≤ 1.0"),
        ratio("CPU at the rate, Weir ÷ nginx", (Weir, Nginx), |own| own.paced_cost_us, ""),
        ratio("requests/s, Weir, telemetry on ÷ off", (Weir, WeirOff), |own| own.per_second, "goal ≥ 0.93"),
        ratio("requests/s of a whole core, on ÷ off", (Weir, WeirOff), |own| 1.0 / own.cost_us, "goal ≥ 0.93"),
        ratio("CPU at the rate, Weir, off ÷ on", (WeirOff, Weir), |own| own.paced_cost_us, "goal ≥ 0.93"),
    ]
};

/// Prints one round of one contender as it comes.
pub(crate) fn show_sample(round: u32, contender: Contender, sample: &Sample) {
    println!(
        "round {round}  {:<16}{:>8.0} req/s{:>9.2} µs{:>8.0} µs p99",
        contender.name(),
        sample.per_second,
        sample.cost_us,
        sample.latency_us[1]
    );
}

/// Prints what idle connections take.
pub(crate) fn show_idle(count: usize, before_kib: u64, after_kib: u64) {
    let each = number(after_kib.saturating_sub(before_kib)) / number(count.max(1) as u64);
    println!(
        "\n{count} idle connections: {:.1} MiB (goal ≤ 100 MB for 10,000), {each:.2} KiB each; before them {:.1} MiB (goal ≤ 20)",
        number(after_kib) / 1024.0,
        number(before_kib) / 1024.0
    );
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn number(count: u64) -> f64 {
    count as f64
}
