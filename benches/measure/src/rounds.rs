//! Interleaving: all contenders take turns in small slices, so that a slow second of the machine hits them alike.

/// A contender's values, one a round.
#[derive(Debug, Clone)]
pub struct Series {
    /// Whose.
    pub contender: String,
    /// In the order of the rounds.
    pub values: Vec<f64>,
}

/// Who runs in a round, one after the other: everybody, a different one first each time.
pub fn turns(contenders: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..contenders).map(move |turn| (turn + round) % contenders)
}

/// Runs so many rounds; in each every contender runs one slice, a different one first. The first round is not kept.
pub fn interleave(names: &[&str], rounds: usize, mut slice: impl FnMut(usize) -> f64) -> Vec<Series> {
    let mut series: Vec<Series> = names
        .iter()
        .map(|name| Series {
            contender: (*name).to_owned(),
            values: Vec::with_capacity(rounds),
        })
        .collect();
    for round in 0..=rounds {
        for index in turns(names.len(), round) {
            let value = slice(index);
            if round > 0 {
                series[index].values.push(value);
            }
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_runs_in_every_round_and_the_first_is_dropped() {
        let mut calls = Vec::new();
        let series = interleave(&["a", "b", "c"], 2, |index| {
            calls.push(index);
            f64::from(u32::try_from(calls.len()).expect("few"))
        });
        assert_eq!(calls, [0, 1, 2, 1, 2, 0, 2, 0, 1]);
        assert_eq!(series[0].values, [6.0, 8.0]);
        assert_eq!(series[2].contender, "c");
        assert_eq!(series[2].values, [5.0, 7.0]);
    }
}
