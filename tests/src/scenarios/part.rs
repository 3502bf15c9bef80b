//! Parts of a run, for several guests with the same kernel.

use std::str::FromStr;

/// A part of the scenarios, for one of several guests with the same kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Index of the part, from 0.
    number: usize,
    /// Number of parts.
    parts: usize,
}

impl Part {
    /// The members of this part. Parts are even in number and, as long scenarios come first, in
    /// length.
    pub fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let own = all.into_iter().skip(self.number).step_by(self.parts);
        own.collect()
    }
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<usize>().ok();
        let numbers = text
            .split_once('/')
            .and_then(|(part, parts)| Some((number(part)?, number(parts)?)));
        match numbers {
            Some((part, parts)) if 0 < part && part <= parts => Ok(Self {
                number: part - 1,
                parts,
            }),
            _ => Err("expected a part and the number of parts, such as 1/2"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_leave_nothing_out() {
        let part = |text: &str| text.parse::<Part>().unwrap().of((0..7).collect());
        assert_eq!(part("1/1"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(part("1/3"), [0, 3, 6]);
        assert_eq!(part("2/3"), [1, 4]);
        assert_eq!(part("3/3"), [2, 5]);
        for wrong in ["", "1", "0/2", "3/2", "1/0", "a/2", "1/2/3"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
