//! A table on standard output.

use std::iter;

/// Prints a table. The first column is aligned left, the others right.
pub(crate) fn print(header: &[&str], lines: &[Vec<String>]) {
    let header: Vec<_> = header.iter().map(|&title| title.to_owned()).collect();
    let all = || iter::once(&header).chain(lines);
    let width = |column: usize| all().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    for line in all() {
        print!("{:<1$}", line[0], widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            print!("  {cell:>width$}");
        }
        println!();
    }
}
