//! Interleaved rounds: every contender is measured in every round, so that a busy minute hits all of them alike.

use super::sample::Sample;

/// Something that is measured: its name, and one round of it, which gives one number.
pub(crate) type Contender<'a> = (String, Box<dyn FnMut() -> f64 + 'a>);

/// Runs one round to warm up and then `num_rounds` that count, and gives each contender's numbers.
pub(crate) fn interleave(num_rounds: usize, contenders: Vec<Contender<'_>>) -> Vec<(String, Sample)> {
    let mut measured: Vec<_> = contenders.into_iter().map(|(name, run)| (name, run, Vec::new())).collect();
    for round in 0..=num_rounds {
        for (_, run, values) in &mut measured {
            let value = run();
            if round > 0 {
                values.push(value);
            }
        }
    }
    measured.into_iter().map(|(name, _, values)| (name, Sample::new(values))).collect()
}

/// Prints what was measured, with each median as a share of the first one's.
pub(crate) fn print_rates(title: &str, unit: &str, measured: &[(String, Sample)]) {
    println!("\n{title}\n{:<44} {unit:>14} {:>8} {:>26}", "", "ratio", "span");
    let baseline = measured.first().map_or(f64::NAN, |(_, sample)| sample.median());
    for (name, sample) in measured {
        let (least, most) = sample.span();
        let (median, ratio) = (sample.median(), sample.median() / baseline);
        println!("{name:<44} {median:>14.0} {ratio:>8.2} {:>26}", format!("{least:.0} – {most:.0}"));
    }
}

/// Prints percentiles of times in microseconds, and the ratios of the first two to the first one's.
pub(crate) fn print_times(title: &str, measured: &[(String, Sample)]) {
    println!(
        "\n{title}\n{:<44} {:>8} {:>8} {:>8} {:>8} {:>10} {:>10}",
        "", "p50 us", "p99 us", "max us", "n", "ratio p50", "ratio p99"
    );
    let baseline = measured.first().map(|(_, sample)| sample);
    for (name, sample) in measured {
        let [p50, p99, max] = [50.0, 99.0, 100.0].map(|percent| sample.percentile(percent));
        let ratio = |percent| {
            sample.percentile(percent) / baseline.map_or(f64::NAN, |baseline| baseline.percentile(percent))
        };
        println!(
            "{name:<44} {p50:>8.0} {p99:>8.0} {max:>8.0} {:>8} {:>10.2} {:>10.2}",
            sample.len(),
            ratio(50.0),
            ratio(99.0)
        );
    }
}
