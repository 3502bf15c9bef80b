//! `explain`.

mod words;

use super::{Globals, Outcome, cli::Explain, output, source};
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
    let registry = source(globals, MissingFile::Embedded);
    let explanation = inspect::explain(instance, &registry, &question).await?;
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
            interface: packet.interface.clone(),
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
