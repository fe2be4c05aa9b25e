//! Columns as kubectl has them: no lines, two spaces between, the last one as long as it is.

use anstyle::{AnsiColor, Style};
use textwrap::WordSplitter;
use unicode_width::UnicodeWidthStr;

use super::failure::one_line;
use super::screen::Layout;

/// How a word stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As text is.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// Somebody should look.
    Notable,
    /// Something is wrong.
    Bad,
    /// Less important.
    Quiet,
    /// A heading.
    Strong,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Notable => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Quiet => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
        }
    }

    /// `text` in this tone.
    #[must_use]
    pub fn paint(self, text: &str) -> String {
        if self == Self::Plain || text.is_empty() {
            return text.to_owned();
        }
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        // Others write names and messages, terminal codes too.
        Self { text: one_line(&text.into()), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Row>,
    elastic: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Row {
    cells: Vec<Cell>,
    notes: Vec<(String, Tone)>,
}

impl Table {
    /// A table with these heads.
    #[must_use]
    pub fn new(heads: &[&'static str]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new(), elastic: Vec::new() }
    }

    /// Columns that give way where the terminal is too narrow for all: names, whose beginning is enough.
    #[must_use]
    pub fn elastic(mut self, columns: &[usize]) -> Self {
        self.elastic = columns.to_vec();
        self
    }

    /// Columns that it takes without its notes, once the elastic ones have given way.
    #[must_use]
    pub fn least_width(&self) -> usize {
        let mut widths = self.widths();
        self.squeeze(&mut widths, 0);
        width(&widths)
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.text.width());
            }
        }
        widths
    }

    /// Takes from the widest of the elastic columns until the table fits.
    fn squeeze(&self, widths: &mut [usize], columns: usize) {
        /// Less says nothing of a name.
        const LEAST: usize = 8;
        let mut surplus = width(widths).saturating_sub(columns);
        while surplus > 0 {
            let widest = self.elastic.iter().copied().max_by_key(|at| widths.get(*at));
            match widest.and_then(|at| widths.get_mut(at)).filter(|width| **width > LEAST) {
                Some(width) => *width -= 1,
                None => return,
            }
            surplus -= 1;
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(Row { cells: cells.into_iter().collect(), notes: Vec::new() });
    }

    /// Adds a line of its own below the last row: why something is as it is.
    pub fn note(&mut self, text: impl Into<String>, tone: Tone) {
        if let Some(row) = self.rows.last_mut() {
            row.notes.push((text.into(), tone));
        }
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text. Where a terminal is narrower, a row's cells are cut at its edge, and notes go on
    /// below; where a program reads, nothing is cut.
    #[must_use]
    pub fn render(&self, layout: Layout) -> String {
        let mut widths = self.widths();
        if let Some(columns) = layout.columns {
            self.squeeze(&mut widths, columns);
        }
        let mut out = String::new();
        let heads: Vec<Cell> =
            self.heads.iter().map(|head| Cell::toned(*head, Tone::Strong)).collect();
        line(&mut out, &heads, &widths, layout);
        for row in &self.rows {
            line(&mut out, &row.cells, &widths, layout);
            for (note, tone) in &row.notes {
                out.push_str(&indented(note, *tone, "  ", layout));
            }
        }
        out
    }
}

/// Columns of a table whose columns have these widths.
fn width(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
}

fn line(out: &mut String, cells: &[Cell], widths: &[usize], layout: Layout) {
    let mut left = layout.columns.unwrap_or(usize::MAX);
    let last = cells.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate().take(last + 1) {
        // A cell is wider than its column only where the column gave way.
        let shown = cut(&cell.text, left.min(*width));
        left = left.saturating_sub(shown.width());
        out.push_str(&cell.tone.paint(&shown));
        if at < last {
            let gap = (width.saturating_sub(shown.width()) + 2).min(left);
            left -= gap;
            out.push_str(&" ".repeat(gap));
        }
        if left == 0 {
            break;
        }
    }
    while out.ends_with(' ') {
        out.pop();
    }
    out.push('\n');
}

/// `text` in at most `columns`, with an ellipsis where something is left out.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut shown = String::new();
    for c in text.chars() {
        shown.push(c);
        if shown.width() + 1 > columns {
            shown.pop();
            break;
        }
    }
    if columns > 0 {
        shown.push('…');
    }
    shown
}

/// A sentence that is wrapped at the terminal's edge, each line indented. One line where a program reads.
#[must_use]
pub fn indented(text: &str, tone: Tone, indent: &str, layout: Layout) -> String {
    let text = &*one_line(text);
    // Narrower than that, words would be cut.
    const LEAST: usize = 20;
    let lines = match layout.columns {
        None => vec![text.into()],
        Some(columns) => {
            let columns = columns.saturating_sub(indent.width()).max(LEAST);
            // A name with a hyphen stays whole where it fits: people copy it.
            let options =
                textwrap::Options::new(columns).word_splitter(WordSplitter::NoHyphenation);
            textwrap::wrap(text, options)
        }
    };
    lines.iter().map(|line| format!("{indent}{}\n", tone.paint(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["NAME", "WHY"]);
        table.row(["shop-2".into(), Cell::toned("the weight is 10", Tone::Bad)]);
        table.note("lb-1 still sends to it", Tone::Quiet);
        table.row(["a-longer-name".into(), "".into()]);
        table
    }

    #[test]
    fn columns_stand_below_each_other_and_nothing_trails() {
        let text = anstream::adapter::strip_str(&sample().render(Layout::default())).to_string();
        assert_eq!(
            text,
            "NAME           WHY\nshop-2         the weight is 10\n  lb-1 still sends to it\na-longer-name\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in 24..40 {
            let layout = Layout { columns: Some(columns), wide: false };
            let text = anstream::adapter::strip_str(&sample().render(layout)).to_string();
            for line in text.lines() {
                assert!(line.width() <= columns, "{columns}: {line}");
            }
        }
        let squeezed = sample().elastic(&[0]);
        let layout = Layout { columns: Some(28), wide: false };
        let text = anstream::adapter::strip_str(&squeezed.render(layout)).to_string();
        assert!(text.contains("a-longer-…\n") && text.contains("shop-2      the weight is 10\n"));
        assert_eq!(cut("weight", 4), "wei…");
        assert_eq!(cut("weight", 6), "weight");
        assert_eq!(cut("weight", 0), "");
    }
}
