//! The last drops as lines, shared by all followers, each of which reads at a pace of its own.

use std::collections::VecDeque;

use bytes::Bytes;

use super::record::Record;

/// The lines at most: three seconds of a flood on one CPU.
pub(super) const LINES: usize = 1024;
/// The bytes of the lines at most.
pub(super) const BYTES: usize = 512 << 10;

/// The last lines. The oldest lines make room for new ones, whoever has read them.
#[derive(Debug, Default)]
pub(super) struct Ring {
    lines: VecDeque<Line>,
    /// The bytes of all lines.
    bytes: usize,
    /// The number of the oldest line.
    first: u64,
    /// The drops behind all lines ever.
    drops: u64,
}

#[derive(Debug)]
struct Line {
    text: Bytes,
    /// The drops behind all lines before.
    before: u64,
    /// The drops behind the line.
    drops: u64,
}

/// The place of a follower.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    /// The number of the next line.
    next: u64,
    /// The drops that the follower knows of, or that came before the follower.
    known: u64,
}

impl Ring {
    /// Adds a drop.
    pub(super) fn push(&mut self, record: &Record) {
        // A record of strings and numbers can always be written.
        let Ok(text) = line(record) else { return };
        let drops = record.merged + u64::from(record.reason.is_some());
        self.bytes += text.len();
        self.lines.push_back(Line {
            text,
            before: self.drops,
            drops,
        });
        self.drops += drops;
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.text.len();
            self.first += 1;
        }
    }

    /// Forgets all lines, for want of followers.
    pub(super) fn clear(&mut self) {
        self.first += self.lines.len() as u64;
        self.lines = VecDeque::new();
        self.bytes = 0;
    }

    /// Returns the place behind the last line.
    pub(super) fn end(&self) -> Cursor {
        Cursor {
            next: self.first + self.lines.len() as u64,
            known: self.drops,
        }
    }

    /// Returns the next line of a follower, who has missed no more than the line's `merged` says;
    /// `None` at the end.
    pub(super) fn next(&self, cursor: &mut Cursor) -> Option<Bytes> {
        let number = cursor.next.max(self.first);
        let index = usize::try_from(number - self.first).ok()?;
        let line = self.lines.get(index)?;
        let missed = line.before - cursor.known;
        *cursor = Cursor {
            next: number + 1,
            known: line.before + line.drops,
        };
        // Followers up to date share the bytes of one line.
        Some(match missed {
            0 => line.text.clone(),
            missed => with_missed(&line.text, missed).unwrap_or_else(|| line.text.clone()),
        })
    }
}

/// Returns the line of a drop, as followers read the line.
fn line(record: &Record) -> serde_json::Result<Bytes> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line.into())
}

/// Returns a line that stands for missed drops too.
fn with_missed(text: &[u8], missed: u64) -> Option<Bytes> {
    let mut record: Record = serde_json::from_slice(text).ok()?;
    record.merged += missed;
    line(&record).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_with(merged: u64, interface: &str) -> Record {
        Record {
            reason: Some("malformed".to_owned()),
            interface: Some(interface.to_owned()),
            merged,
            ..Record::default()
        }
    }

    fn read(ring: &Ring, cursor: &mut Cursor) -> Option<Record> {
        let line = ring.next(cursor)?;
        assert_eq!(line.last(), Some(&b'\n'));
        Some(serde_json::from_slice(&line).unwrap())
    }

    /// Returns the number of lines up to the end, and of the drops behind them.
    fn rest(ring: &Ring, cursor: &mut Cursor) -> (usize, u64) {
        let (mut lines, mut drops) = (0, 0);
        while let Some(record) = read(ring, cursor) {
            lines += 1;
            drops += record.merged + u64::from(record.reason.is_some());
        }
        (lines, drops)
    }

    #[test]
    fn followers_read_at_their_own_pace_from_where_they_came_in() {
        let mut ring = Ring::default();
        ring.push(&drop_with(5, "eth0"));
        let mut fast = ring.end();
        let mut slow = ring.end();
        assert_eq!(read(&ring, &mut fast), None);
        for name in ["a", "b"] {
            ring.push(&drop_with(0, name));
            assert_eq!(read(&ring, &mut fast), Some(drop_with(0, name)));
        }
        assert_eq!(read(&ring, &mut slow), Some(drop_with(0, "a")));
        assert_eq!(rest(&ring, &mut slow), (1, 1));
        assert_eq!(rest(&ring, &mut fast), (0, 0));
        // One copy of a line for all.
        ring.push(&drop_with(0, "c"));
        let [one, two] = [&mut fast, &mut slow].map(|cursor| ring.next(cursor).unwrap());
        assert_eq!(one.as_ptr(), two.as_ptr());
    }

    #[test]
    fn the_ring_is_bounded_and_loses_no_count() {
        let mut ring = Ring::default();
        let mut asleep = ring.end();
        let sent = 10 * LINES as u64;
        for number in 0..sent {
            ring.push(&drop_with(number % 3, "eth0"));
            assert!(ring.lines.len() <= LINES && ring.bytes <= BYTES);
        }
        let all = (0..sent).map(|number| number % 3 + 1).sum();
        assert_eq!(rest(&ring, &mut asleep), (LINES, all));
        let size: usize = ring.lines.iter().map(|line| line.text.len()).sum();
        assert_eq!(ring.bytes, size);
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let mut ring = Ring::default();
        let mut asleep = ring.end();
        let name = "x".repeat(BYTES / 10);
        for _ in 0..100 {
            ring.push(&drop_with(0, &name));
        }
        assert!(ring.bytes <= BYTES && ring.lines.len() == 9);
        assert_eq!(rest(&ring, &mut asleep), (9, 100));
    }

    #[test]
    fn the_rest_of_a_flood_counts_without_a_drop_of_its_own() {
        let mut ring = Ring::default();
        let mut cursor = ring.end();
        ring.push(&Record {
            merged: 7,
            ..Record::default()
        });
        for _ in 0..LINES {
            ring.push(&drop_with(0, "eth0"));
        }
        assert_eq!(rest(&ring, &mut cursor), (LINES, 7 + LINES as u64));
    }

    #[test]
    fn a_cleared_ring_holds_nothing_and_goes_on() {
        let mut ring = Ring::default();
        let mut behind = ring.end();
        ring.push(&drop_with(0, "a"));
        ring.clear();
        assert_eq!(ring.bytes, 0);
        let mut new = ring.end();
        assert_eq!(read(&ring, &mut new), None);
        ring.push(&drop_with(0, "b"));
        assert_eq!(read(&ring, &mut new), Some(drop_with(0, "b")));
        assert_eq!(read(&ring, &mut behind), Some(drop_with(1, "b")));
    }
}
