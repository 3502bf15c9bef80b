//! Sets of port numbers.

/// A set of port numbers, a bit for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet {
    /// No words for the empty set, else a bit for each port.
    words: Vec<u64>,
}

impl PortSet {
    /// Adds a port.
    pub fn insert(&mut self, port: u16) {
        self.words.resize((1 << 16) / 64, 0);
        if let Some(word) = self.words.get_mut(usize::from(port / 64)) {
            *word |= 1 << (port % 64);
        }
    }

    /// Whether the port is a member.
    pub fn contains(&self, port: u16) -> bool {
        let word = self.words.get(usize::from(port / 64));
        word.is_some_and(|word| word >> (port % 64) & 1 == 1)
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        let mut set = Self::default();
        ports.into_iter().for_each(|port| set.insert(port));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_its_members_and_no_other() {
        let set: PortSet = [0, 63, 64, 65_535].into_iter().collect();
        for port in [0, 63, 64, 65_535] {
            assert!(set.contains(port), "{port}");
        }
        for port in [1, 62, 65, 65_534] {
            assert!(!set.contains(port), "{port}");
        }
        let none = PortSet::default();
        assert!(!none.contains(0) && !none.contains(65_535));
        assert_eq!(none, PortSet::from_iter([]));
        let range: PortSet = (49_152..=65_535).collect();
        assert!(range.contains(49_152) && range.contains(65_535) && !range.contains(49_151));
    }
}
