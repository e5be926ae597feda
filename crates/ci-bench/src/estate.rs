//! The estate: its CIs and relations as streams.

use std::io::{self, Write};

use ci_model::{CiDraft, RelationDraft};

use crate::cell::Cell;
use crate::{write_ci, write_relation};

/// A generated CMDB of exactly `size` CIs, the same for the same seed.
///
/// It is only the recipe: two numbers. Every call of [`Estate::cis`] and [`Estate::relations`] makes the CIs anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estate {
    seed: u64,
    size: u64,
}

impl Estate {
    /// An estate of `size` CIs. All subtypes occur from about 100 CIs on.
    pub fn new(seed: u64, size: u64) -> Self {
        Self { seed, size }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of CIs.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The CIs, in an order in which what others stand on comes first. Cost: one to two microseconds and a dozen
    /// allocations per CI.
    pub fn cis(&self) -> Cis {
        Cis {
            cells: Cells::new(*self),
            current: Vec::new().into_iter(),
        }
    }

    /// The relations, about twice as many as CIs.
    pub fn relations(&self) -> Relations {
        Relations {
            cells: Cells::new(*self),
            current: Vec::new().into_iter(),
        }
    }

    /// Writes the CIs as JSON Lines, the import format; returns their number.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_cis<W: Write>(&self, mut out: W) -> io::Result<u64> {
        let mut lines = 0;
        for ci in self.cis() {
            write_ci(&mut out, &ci)?;
            lines += 1;
        }
        out.flush()?;
        Ok(lines)
    }

    /// Writes the relations as JSON Lines, the import format; returns their number.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_relations<W: Write>(&self, mut out: W) -> io::Result<u64> {
        let mut lines = 0;
        for relation in self.relations() {
            write_relation(&mut out, &relation)?;
            lines += 1;
        }
        out.flush()?;
        Ok(lines)
    }
}

/// The cells of an estate, one at a time; the last one is cut so that the size is exact.
#[derive(Debug, Clone)]
struct Cells {
    estate: Estate,
    next: u64,
    left: u64,
}

impl Cells {
    fn new(estate: Estate) -> Self {
        Self {
            estate,
            next: 0,
            left: estate.size,
        }
    }
}

impl Iterator for Cells {
    type Item = Cell;

    fn next(&mut self) -> Option<Cell> {
        if self.left == 0 {
            return None;
        }
        let mut cell = Cell::new(self.estate.seed, self.next);
        self.next += 1;
        cell.cut(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left = self.left.saturating_sub(cell.cis.len() as u64);
        Some(cell)
    }
}

/// The CIs of an [`Estate`].
#[derive(Debug, Clone)]
pub struct Cis {
    cells: Cells,
    current: std::vec::IntoIter<CiDraft>,
}

impl Iterator for Cis {
    type Item = CiDraft;

    fn next(&mut self) -> Option<CiDraft> {
        loop {
            if let Some(ci) = self.current.next() {
                return Some(ci);
            }
            self.current = self.cells.next()?.cis.into_iter();
        }
    }
}

/// The relations of an [`Estate`].
#[derive(Debug, Clone)]
pub struct Relations {
    cells: Cells,
    current: std::vec::IntoIter<RelationDraft>,
}

impl Iterator for Relations {
    type Item = RelationDraft;

    fn next(&mut self) -> Option<RelationDraft> {
        loop {
            if let Some(relation) = self.current.next() {
                return Some(relation);
            }
            self.current = self.cells.next()?.relations.into_iter();
        }
    }
}
