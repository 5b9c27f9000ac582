//! SHELL. Tables: typed columns, fitted to the width of a terminal.
//!
//! Without a width (a pipe, a file, `--wide`) each column is as wide as its widest cell. With one, a
//! table that is too wide is fitted in two steps: columns that can be shortened are cut with an
//! ellipsis, the widest first; if even their minimum widths do not fit, columns that are marked so are
//! left out, and named below the table.

use super::style::Style;

/// Space between columns.
const GAP: usize = 2;

/// Part of a cell that is kept when it is shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Start,
    /// The end is more specific, as of a path.
    End,
}

/// A column of a table. Its width is counted in characters.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    heading: &'static str,
    is_number: bool,
    /// Minimum width to which cells may be shortened; `None` if every cell must be whole.
    least: Option<usize>,
    keep: Keep,
    /// Order in which columns are left out, the highest first; 0 for never.
    rank: u8,
}

impl Column {
    /// A left-aligned column of whole cells.
    pub const fn text(heading: &'static str) -> Column {
        Column {
            heading,
            is_number: false,
            least: None,
            keep: Keep::Start,
            rank: 0,
        }
    }

    /// A right-aligned column of whole cells: numbers, sizes and durations, or `-` for unknown ones.
    pub const fn number(heading: &'static str) -> Column {
        Column {
            is_number: true,
            ..Column::text(heading)
        }
    }

    /// Allows to shorten cells to `least` characters, with an ellipsis at the end.
    pub const fn shrinks(self, least: usize) -> Column {
        Column {
            least: Some(least),
            ..self
        }
    }

    /// Allows to shorten cells to `least` characters, with an ellipsis at the start.
    pub const fn shrinks_from_start(self, least: usize) -> Column {
        Column {
            least: Some(least),
            keep: Keep::End,
            ..self
        }
    }

    /// Allows to leave the column out. Of several, that of the highest rank (1 to 255) goes first.
    pub const fn may_hide(self, rank: u8) -> Column {
        Column { rank, ..self }
    }

    /// Heading of the column.
    pub const fn heading(&self) -> &'static str {
        self.heading
    }

    fn cell(&self, text: &str, width: usize) -> String {
        let text = shortened(text, width, self.keep);
        match self.is_number {
            true => format!("{text:>width$}"),
            false => format!("{text:<width$}"),
        }
    }
}

/// Cuts `text` to `width` characters, of which one is the ellipsis.
fn shortened(text: &str, width: usize, keep: Keep) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    match keep {
        Keep::Start => {
            let start: String = text.chars().take(kept).collect();
            format!("{}…", start.trim_end())
        }
        Keep::End => {
            let end: String = text.chars().skip(count - kept).collect();
            format!("…{}", end.trim_start())
        }
    }
}

/// Formats a table, fitted to the width of `style`. A row may have fewer cells than there are columns.
/// The text has no newline at the end.
pub fn table(style: Style, columns: &[Column], rows: &[Vec<String>]) -> String {
    let natural = natural_widths(columns, rows);
    let widths = match style.width() {
        Some(width) => fitted(columns, &natural, width),
        None => natural.into_iter().map(Some).collect(),
    };
    let line = |cell: &dyn Fn(usize) -> String| {
        let shown = columns.iter().zip(&widths).enumerate();
        let cells: Vec<String> = shown
            .filter_map(|(at, (column, width))| Some(column.cell(&cell(at), (*width)?)))
            .collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let mut text = style.bold(&line(&|at| columns[at].heading.to_owned()));
    for row in rows {
        text.push('\n');
        text.push_str(&line(&|at| row.get(at).cloned().unwrap_or_default()));
    }
    let hidden: Vec<&str> = columns
        .iter()
        .zip(&widths)
        .filter(|(_, width)| width.is_none())
        .map(|(column, _)| column.heading)
        .collect();
    if !hidden.is_empty() {
        let words = format!("not shown: {} (-l shows all)", hidden.join(", "));
        text.push_str(&format!("\n{}", style.dim(&words)));
    }
    text
}

/// Returns the width of a table that is not fitted.
pub fn natural_width(columns: &[Column], rows: &[Vec<String>]) -> usize {
    total(natural_widths(columns, rows))
}

/// Width of each column with whole cells.
fn natural_widths(columns: &[Column], rows: &[Vec<String>]) -> Vec<usize> {
    let natural = columns.iter().enumerate().map(|(at, column)| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let cells = cells.map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(column.heading.chars().count())
    });
    natural.collect()
}

/// Width of a table with columns of these widths.
fn total(widths: impl IntoIterator<Item = usize>) -> usize {
    let widths = widths.into_iter().map(|width| width + GAP);
    widths.sum::<usize>().saturating_sub(GAP)
}

/// Returns the widths of the columns of a table of at most `limit` columns; `None` for one that is left
/// out. A table that cannot be fitted has its minimum width.
fn fitted(columns: &[Column], natural: &[usize], limit: usize) -> Vec<Option<usize>> {
    // A heading is shortened with its column, so a minimum may be below the heading's width.
    let least = |at: usize| columns[at].least.unwrap_or(usize::MAX).min(natural[at]);
    let total = |widths: &[Option<usize>]| total(widths.iter().flatten().copied());
    let mut widths: Vec<Option<usize>> = (0..columns.len()).map(|at| Some(least(at))).collect();
    while total(&widths) > limit {
        let next = (0..columns.len())
            .filter(|at| widths[*at].is_some() && columns[*at].rank > 0)
            .max_by_key(|at| columns[*at].rank);
        let Some(next) = next else {
            return widths;
        };
        widths[next] = None;
    }
    // From the natural widths down, so that the widest column is shortened first.
    for (width, natural) in widths.iter_mut().zip(natural) {
        *width = width.map(|_| *natural);
    }
    while total(&widths) > limit {
        let widest = (0..columns.len())
            .filter(|at| widths[*at].is_some_and(|width| width > least(*at)))
            .max_by_key(|at| widths[*at]);
        let Some(widest) = widest else {
            return widths;
        };
        widths[widest] = widths[widest].map(|width| width - 1);
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::super::style::Color;
    use super::*;

    fn rows(cells: &[&[&str]]) -> Vec<Vec<String>> {
        let row = |row: &&[&str]| row.iter().map(|cell| (*cell).to_owned()).collect();
        cells.iter().map(row).collect()
    }

    fn lines(width: Option<usize>, columns: &[Column], cells: &[&[&str]]) -> Vec<String> {
        let style = Style::new(Color::Never).with_width(width);
        let text = table(style, columns, &rows(cells));
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn number_columns_with_unknown_cells_are_right_aligned() {
        let columns = [
            Column::text("NAME"),
            Column::text("ROLE"),
            Column::number("LOST"),
            Column::number("HOSTS"),
        ];
        let cells: [&[&str]; 3] = [
            &["a", "-", "-", "-"],
            &["bbbbb", "-", "-", "12"],
            &["c", "-", "-", "7"],
        ];
        assert_eq!(
            lines(None, &columns, &cells),
            [
                "NAME   ROLE  LOST  HOSTS",
                "a      -        -      -",
                "bbbbb  -        -     12",
                "c      -        -      7",
            ]
        );
    }

    const COLUMNS: [Column; 4] = [
        Column::text("ADDRESS"),
        Column::text("NAME").shrinks(6),
        Column::text("PATH").shrinks_from_start(6),
        Column::number("AGE").may_hide(1),
    ];
    const CELLS: [&[&str]; 2] = [
        &["10.0.0.1", "printer.example.org", "/run/a/socket", "12"],
        &["10.0.0.200", "böse-küche", "-", "-"],
    ];

    #[test]
    fn columns_give_way_widest_first_and_cells_stay_aligned() {
        assert_eq!(
            lines(None, &COLUMNS, &CELLS),
            [
                "ADDRESS     NAME                 PATH           AGE",
                "10.0.0.1    printer.example.org  /run/a/socket   12",
                "10.0.0.200  böse-küche           -                -",
            ]
        );
        assert_eq!(
            lines(Some(40), &COLUMNS, &CELLS),
            [
                "ADDRESS     NAME         PATH        AGE",
                "10.0.0.1    printer.ex…  …/a/socket   12",
                "10.0.0.200  böse-küche   -             -",
            ]
        );
    }

    #[test]
    fn columns_that_do_not_fit_are_left_out_and_named() {
        assert_eq!(
            lines(Some(27), &COLUMNS, &CELLS),
            [
                "ADDRESS     NAME     PATH",
                "10.0.0.1    printe…  …ocket",
                "10.0.0.200  böse-k…  -",
                "not shown: AGE (-l shows all)",
            ]
        );
    }

    #[test]
    fn tables_that_cannot_be_fitted_keep_their_minimum() {
        let shown = lines(Some(10), &COLUMNS, &CELLS);
        assert!(shown[1].starts_with("10.0.0.1    print…"), "{shown:?}");
    }
}
