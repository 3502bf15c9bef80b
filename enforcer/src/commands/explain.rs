//! `explain`.

mod words;

use std::os::unix::ffi::OsStrExt as _;

use super::{Globals, Outcome, cli::Explain, output, read};
use crate::{
    control::Instance,
    inspect::{self, LiveAnswer, Question},
    note::{Note, NoteKind},
    printable,
    registry::{MissingFile, Origin},
};

/// Gives the verdict on a described packet, and the reasons.
pub(crate) async fn explain(globals: &Globals, instance: &Instance, packet: &Explain) -> Outcome {
    let question = Question::from(packet);
    let registry = || read(globals, MissingFile::Embedded);
    let explanation = inspect::explain(instance, registry, &question).await?;
    if let Some(origin) = &explanation.hypothetical {
        output::note(&hypothetical(origin));
    }
    if globals.json {
        output::print_json(&explanation)?;
    } else {
        output::print(&words::human(&question, &explanation, output::width()))?;
    }
    if explanation.live.as_ref().is_some_and(LiveAnswer::disagrees) {
        output::note(&Note::new(
            NoteKind::VerdictsDiffer,
            "the kernel's verdict differs from the verdict by its maps: `enforcer up` writes them \
             anew; please report this",
        ));
    }
    Ok(0)
}

impl From<&Explain> for Question {
    fn from(packet: &Explain) -> Self {
        Self {
            interface: printable::decode(packet.interface.as_bytes()),
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol.into(),
            port: packet.port,
            live: packet.live,
        }
    }
}

/// The note above a verdict with nothing pinned.
fn hypothetical(origin: &Origin) -> Note {
    let what = match origin {
        Origin::Embedded => "the embedded default".to_owned(),
        Origin::Files(files) => printable::decoded(files),
    };
    let text = format!("nothing is pinned: this is what {what} would do if it were in force");
    Note::new(NoteKind::NothingPinned, text)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::commands::{
        cli::{Cli, Command},
        snapshots::assert_snapshot,
    };

    #[test]
    fn nothing_pinned() {
        let files = [
            "/etc/enforcer/enforcer.toml",
            "/etc/enforcer/enforcer.d/1\u{1b}.toml",
        ];
        let origins = [
            Origin::Embedded,
            Origin::Files(files.map(Into::into).to_vec()),
        ];
        let notes = origins.map(|origin| hypothetical(&origin));
        assert_snapshot("explain-nothing-pinned", |width| {
            let notes = notes.each_ref().map(|note| output::note_text(note, width));
            notes.join("\n")
        });
    }

    #[test]
    fn a_question_may_name_any_interface() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

        let name = OsStr::from_bytes(b"a\xff");
        let words = [
            "enforcer",
            "explain",
            "--source",
            "::1",
            "--port",
            "1",
            "--interface",
        ];
        let words = words.map(OsStr::new).into_iter().chain([name]);
        let cli = Cli::try_parse_from(words).expect("a question");
        let Command::Explain(packet) = cli.command else {
            panic!("{cli:?}");
        };
        assert_eq!(
            Question::from(&packet).interface,
            printable::decode(b"a\xff")
        );
    }
}
