//! Report of a comparison, `report.html`: one page without any other file.

mod chart;
mod diagram;

use anyhow::Context;
use clikit::text::count;
use fidelity::{
    BEHAVIOURS, Behaviour, CHECKS, CategoricalField, Comparison, Damage, Interval, Measurement,
    PartComparison, TraceComparison, TraceMeasure, TraceUnit, ValueShares, VerdictRate,
};
use flowtrack::Flow;
use minijinja::{AutoEscape, Environment, Value, context};

use crate::external_tools::{ToolOutcome, ToolReports};
use crate::summary::{NEAR_BITS, NEAR_DECADES, Summary};

/// Name of the page's file.
pub(crate) const REPORT: &str = "report.html";

/// Title element of the page.
pub(crate) const TITLE: &str = "<title>Real and generated flows</title>";

/// Renders the page. `names` are those of the real and of the generated input.
///
/// # Errors
/// If a chart cannot be drawn, or the template of the page is broken.
pub(crate) fn render(
    summary: &Summary,
    names: [&str; 2],
    real: &[Flow],
    generated: &[Flow],
) -> anyhow::Result<String> {
    let found = &summary.found;
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template(REPORT, include_str!("page.html")).context(REPORT)?;
    let page = environment.get_template(REPORT).context(REPORT)?;
    let charts = found.continuous.iter().map(|field| {
        let against = &field.wasserstein1;
        let is_off = against.generated.value > against.floor.value + NEAR_DECADES;
        Ok(context! {
            name => field.name,
            meaning => field.meaning,
            value => line(against),
            is_off,
            svg => chart::svg(field)?,
        })
    });
    let values = context! {
        real => names[0],
        generated => names[1],
        verdict => verdict(summary),
        targets => summary.targets,
        sizes => sizes(found),
        validity => validity(found),
        behaviours => behaviours(found),
        parts => parts(found),
        charts => charts.collect::<anyhow::Result<Vec<_>>>()?,
        fields => found.categorical.iter().map(field).collect::<Vec<_>>(),
        diagrams => diagram::pairs(real, generated),
        judges => tools(&summary.tool_reports),
        learnt => learnt(summary),
        diversity => diversity(found),
        traces => summary.traces.as_ref().map(traces).transpose()?,
        text => summary.to_string(),
    };
    page.render(values).context(REPORT)
}

/// Returns the verdict of the comparison in plain words, a paragraph each.
fn verdict(summary: &Summary) -> Vec<String> {
    let (found, targets) = (&summary.found, &summary.targets);
    let met = targets.iter().filter(|t| t.is_met).count();
    let mut lines = vec![match met == targets.len() {
        true => format!(
            "All {met} targets are met: these flows are as close to the real ones as the targets \
             ask."
        ),
        false => {
            let missed: Vec<&str> = targets.iter().filter(|t| !t.is_met).map(|t| t.name).collect();
            format!("{met} of {} targets are met. Not met: {}.", targets.len(), missed.join(", "))
        }
    }];
    let told = &found.discriminators;
    let of_hundred = |auc: f64| (auc * 100.0).round();
    lines.push(format!(
        "Shown one real and one generated flow, a classifier that has learnt from others picks the \
         generated one {} times of 100 by flow statistics and {} times by the order of packets; \
         guessing gives 50.",
        of_hundred(told.trees.generated.value),
        of_hundred(told.sequence.generated.value)
    ));
    lines.push(format!(
        "{} of the generated flows pass every check of TCP's rules; {} of the real ones do.",
        percent(found.validity_generated.share_all()),
        percent(found.validity_real.share_all())
    ));
    if found.real[0] < 400 || found.generated[0] < 400 {
        lines.push(
            "There are few flows: intervals are wide, and small differences do not show."
                .to_owned(),
        );
    }
    lines
}

/// Formats a share as per cent.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Returns the sentence about the sizes of sets and samples.
fn sizes(found: &Comparison) -> String {
    format!(
        "{} real sessions ({} packets), {} generated ones ({} packets); samples of {}; the floor \
         is the distance between two real samples of that size, from {}.",
        count(found.real[0]),
        count(found.real[1]),
        count(found.generated[0]),
        count(found.generated[1]),
        count(found.sample as u64),
        if found.has_reference { "the reference" } else { "disjoint halves of the real flows" }
    )
}

/// Formats a distance with its interval and floor.
fn line(value: &Measurement) -> String {
    let Measurement { generated, floor } = value;
    format!(
        "{:.3} [{:.3}, {:.3}], floor {:.3}",
        generated.value, generated.low, generated.high, floor.value
    )
}

/// Formats a value with its interval.
fn interval(value: &Interval) -> String {
    format!("{:.3} [{:.3}, {:.3}]", value.value, value.low, value.high)
}

/// Returns the rows of the validity table.
fn validity(found: &Comparison) -> Vec<Value> {
    let row = |(i, check): (usize, &fidelity::Check)| {
        let (real, generated) = (found.validity_real.share(i), found.validity_generated.share(i));
        context! {
            name => check.name,
            meaning => check.meaning,
            real => percent(real),
            generated => percent(generated),
        }
    };
    CHECKS.iter().enumerate().map(row).collect()
}

/// Returns the rows of the table of behaviours.
fn behaviours(found: &Comparison) -> Vec<Value> {
    let row = |(behaviour, rate): (&Behaviour, &VerdictRate)| {
        let share = |side: usize, share: f64| {
            format!("{:.2} % of {}", 100.0 * share, count(rate.judged[side]))
        };
        context! {
            name => behaviour.name,
            meaning => format!("{}; of each {}", behaviour.meaning, behaviour.per),
            real => share(0, rate.real.value),
            generated => share(1, rate.generated.value),
            is_off => rate.is_off(),
        }
    };
    BEHAVIOURS.iter().zip(&found.behaviours).map(row).collect()
}

/// Returns the rows of the table of parts: all flows by packets, and each class of lengths.
fn parts(found: &Comparison) -> Vec<Value> {
    let row = |part: &PartComparison| {
        let share =
            |side: usize, all: [u64; 2]| percent(part.packets[side] as f64 / all[1].max(1) as f64);
        let sizes = [0, 1].map(|side| {
            let all = [found.real, found.generated][side];
            format!("{} flows, {} of the packets", count(part.flows[side]), share(side, all))
        });
        let pair = |[generated, floor]: [f64; 2]| format!("{generated:.3} ({floor:.3})");
        let measures = part.distances.as_ref().map(|distances| {
            let off: Vec<&str> = distances
                .behaviours
                .iter()
                .filter(|rate| rate.is_off())
                .map(|rate| rate.name.as_str())
                .collect();
            context! {
                valid => distances.validity.map(percent),
                categorical => pair(distances.mean_categorical()),
                continuous => pair(distances.mean_continuous()),
                trees => pair([distances.trees.generated, distances.trees.floor].map(|i| i.value)),
                off => off.join(", "),
            }
        });
        context! { name => part.name, sizes, measures }
    };
    std::iter::once(&found.by_packets).chain(&found.by_length).map(row).collect()
}

/// Returns a pair of bars: widths in per cent of `scale`, and texts.
fn bars(
    name: &str,
    [real, generated]: [f64; 2],
    scale: f64,
    texts: [String; 2],
    is_off: bool,
) -> Value {
    let width = |x: f64| format!("{:.1}", (x / scale.max(1e-12)).min(1.0) * 100.0);
    context! { name, real => width(real), generated => width(generated), texts, is_off }
}

/// Returns the bars of values with their shares.
fn share_bars(top: &[ValueShares]) -> Vec<Value> {
    let scale = top.iter().map(|of| of.real.max(of.generated)).fold(0.0, f64::max);
    let bar = |of: &ValueShares| {
        let shares = [of.real, of.generated];
        bars(&of.value, shares, scale, shares.map(percent), false)
    };
    top.iter().map(bar).collect()
}

/// Returns the bars of a categorical field.
fn field(field: &CategoricalField) -> Value {
    let against = &field.jsd_bits;
    context! {
        name => field.name,
        meaning => field.meaning,
        value => line(against),
        is_off => against.generated.value > against.floor.value + NEAR_BITS,
        more => field.values.saturating_sub(field.top.len()),
        bars => share_bars(&field.top),
    }
}

/// Returns the verdicts of external tools.
fn tools(reports: &ToolReports) -> Vec<Value> {
    let one = |(name, outcome): (&str, &ToolOutcome)| match outcome {
        ToolOutcome::NotRun(reason) => context! { name, not_run => reason },
        ToolOutcome::Run(found) => {
            let scale = found
                .verdicts
                .iter()
                .map(|v| v.real.value.max(v.generated.value))
                .fold(0.0, f64::max);
            let rows = found.verdicts.iter().map(|v| {
                let rate = |x: &Interval| format!("{:.3} %", 100.0 * x.value);
                let ratio = v
                    .ratio
                    .as_ref()
                    .map_or_else(String::new, |r| format!(", ratio {}", interval(r)));
                let texts = [rate(&v.real), rate(&v.generated) + &ratio];
                bars(&v.name, [v.real.value, v.generated.value], scale, texts, v.is_off())
            });
            context! {
                name,
                program => found.program,
                per => found.per,
                flows => found.flows,
                bars => rows.collect::<Vec<_>>(),
            }
        }
    };
    reports.by_name().into_iter().map(one).collect()
}

/// Returns a row of a table of measures.
fn row(name: &str, generated: String, floor: String, meaning: &str) -> Value {
    context! { name, generated, floor, meaning }
}

/// Returns the rows of the measures that learn.
fn learnt(summary: &Summary) -> Vec<Value> {
    let told = &summary.found.discriminators;
    let auc = |name, d: &fidelity::Discriminator, meaning| {
        row(name, interval(&d.generated), interval(&d.floor), meaning)
    };
    let mut rows = vec![
        auc("trees", &told.trees, "boosted trees on behaviour and header fields, AUC"),
        auc("sequence model", &told.sequence, "n-grams of direction, flags, length and gap, AUC"),
    ];
    if let Some(d) = &told.trees_with_identifiers {
        rows.insert(
            1,
            auc("trees, with identifiers", d, "given ports and first numbers as well, AUC"),
        );
    }
    for feature in told.single_features.iter().take(5) {
        let [generated, floor] = [feature.generated, feature.floor].map(|auc| format!("{auc:.3}"));
        rows.push(row(
            &format!("{} by itself", feature.name),
            generated,
            floor,
            "this number alone, no learning, AUC",
        ));
    }
    if let Some(u) = &summary.found.utility {
        let meaning = "server port from the first packets: right after generated flows, over right \
                       after real ones";
        rows.push(row("utility", interval(&u.ratio), "1".to_owned(), meaning));
    }
    if let Some(m) = &summary.membership {
        let meaning = "training flows against others by the model's likelihood, AUC";
        rows.push(row("membership", interval(&m.auc), "0.5".to_owned(), meaning));
    }
    rows
}

/// Returns the values of the section on traces.
fn traces(found: &TraceComparison) -> anyhow::Result<Value> {
    let number = |value: &f64| format!("{value:.3}");
    let row_of = |measure: &TraceMeasure| {
        let (unit, near) = match measure.unit {
            TraceUnit::Bits => ("bits", NEAR_BITS),
            TraceUnit::Decades => ("decades", NEAR_DECADES),
        };
        context! {
            name => measure.name,
            meaning => format!("{}, {unit}", measure.meaning),
            generated => interval(&measure.generated),
            floor => number(&measure.floor.value),
            damaged => measure.damaged.iter().map(number).collect::<Vec<_>>(),
            is_off => measure.generated.value > measure.floor.value + near,
        }
    };
    let mut rows: Vec<Value> = found.measures.iter().map(row_of).collect();
    if let Some(trees) = &found.trees {
        let auc = |name, meaning, generated: &Interval, floor: &Interval, damaged: [&str; 4]| {
            let (generated, floor) = (interval(generated), number(&floor.value));
            context! { name, meaning, generated, floor, damaged, is_off => false }
        };
        let [starts, dealt] = trees.damaged.map(|auc| number(&auc.value));
        let [ports, counters] = trees.damaged_with_identifiers.map(|auc| number(&auc.value));
        rows.push(auc(
            "trees",
            "boosted trees on windows of ten flows of a client, AUC",
            &trees.generated,
            &trees.floor,
            [&starts, &dealt, "", ""],
        ));
        rows.push(auc(
            "trees, with identifiers",
            "given relations of ports, identifications and TSvals as well, AUC",
            &trees.generated_with_identifiers,
            &trees.floor_with_identifiers,
            ["", "", &ports, &counters],
        ));
    }
    let sizes = [found.real, found.generated].map(|[captures, clients, flows]| {
        let [captures, clients, flows] = [captures, clients, flows].map(|n| count(n as u64));
        format!("{captures} captures, {clients} clients, {flows} flows")
    });
    let kinds = found.measures.iter().filter(|measure| !measure.top.is_empty()).map(|measure| {
        let (name, meaning) = (measure.name, measure.meaning);
        context! { name, meaning, bars => share_bars(&measure.top) }
    });
    Ok(context! {
        rows,
        sizes,
        kinds => kinds.collect::<Vec<_>>(),
        damages => Damage::ALL.map(Damage::name),
        svg => chart::burstiness(&found.burstiness)?,
    })
}

/// Returns the rows of diversity, dependence and memorisation.
fn diversity(found: &Comparison) -> Vec<Value> {
    let d = &found.diversity;
    let mut rows = vec![
        ("density", &d.density, "generated flows in a real flow's neighbourhood; 1 is even"),
        ("coverage", &d.coverage, "real neighbourhoods that hold a generated flow"),
        ("exact repeats", &d.exact_repeats, "flows that repeat another in all but identity"),
        ("repeats", &d.header_repeats, "flows that repeat another in all but identity and time"),
        ("copies", &d.copies, "flows that are among the real ones in all but identity and time"),
        ("PCD", &found.dependence.pcd, "how far correlations differ"),
        ("CMD", &found.dependence.cmd, "how far pairs of categorical fields differ"),
    ];
    if let Some(m) = &found.memorisation {
        rows.push(("copies of training data", &m.copies, "in all but identity and time"));
        rows.push((
            "nearer to training data",
            &m.closer_to_training,
            "than to real flows held out; 0.5 is even",
        ));
    }
    rows.into_iter()
        .map(|(name, a, meaning)| row(name, interval(&a.generated), interval(&a.floor), meaning))
        .collect()
}
