//! Reload, bad registries, audit: changes of a policy, and commands that must change nothing.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::enforcer::REGISTRY;
use crate::lab::{Guards, Patience, Port};

use super::super::runner::{answered, expect_state, unanswered};
use super::service::{ELASTICSEARCH, from_lan, serve};
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario};

const UNTRUSTED: Reason = Reason::UntrustedInterface;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("reload::adds_and_removes_a_port", adds_and_removes).host_only(COMMAND_LINE),
        Scenario::new("reload::a_slot_starts_from_zero_again", slot_reuse).host_only(COMMAND_LINE),
        Scenario::new("reload::dry_run_changes_nothing", dry_run).host_only(COMMAND_LINE),
        Scenario::new("reload::dry_run_says_it_in_words", dry_run_words).host_only(COMMAND_LINE),
        Scenario::new("reload::dry_run_sees_the_host", dry_run_host).host_only(COMMAND_LINE),
        Scenario::new("reload::notes_have_a_kind_in_json", notes).host_only(COMMAND_LINE),
        Scenario::new("reload::a_fragment_adds_a_service", fragment).host_only(COMMAND_LINE),
        Scenario::new("reload::a_bad_registry_changes_nothing", bad_registry)
            .host_only(COMMAND_LINE),
        Scenario::new("up::a_bad_registry_changes_nothing", bad_registry_at_up)
            .host_only(COMMAND_LINE),
        Scenario::new("up::a_missing_named_registry_is_bad", missing_registry)
            .host_only(COMMAND_LINE),
        Scenario::new("audit::global", audit_global),
    ]
}

fn adds_and_removes(rig: &Rig<'_>) -> Result<()> {
    let (_kept, _added) = (serve(rig, 9200)?, serve(rig, 15_000)?);
    rig.enforcer.up(Guards::Both)?;
    unanswered(from_lan(rig, 9200, Patience::Brief)?)?;
    answered(from_lan(rig, 15_000, Patience::Long)?).context("a port that nobody registered")?;
    rig.enforcer
        .expect_counted(Guard::Wire, UNTRUSTED, ELASTICSEARCH, 1)?;
    let counted = rig
        .enforcer
        .counters()?
        .count(Guard::Wire, UNTRUSTED, ELASTICSEARCH);
    let (_, before) = rig.enforcer.status()?;

    rig.enforcer
        .registry(&format!("{REGISTRY}\n[services.added]\nports = [15000]\n"))?;
    rig.enforcer.reload()?;
    unanswered(from_lan(rig, 15_000, Patience::Brief)?).context("the port that was added")?;
    rig.enforcer
        .expect_counted(Guard::Wire, UNTRUSTED, Port("tcp", 15_000), 1)?;
    let (_, after) = rig.enforcer.status()?;
    ensure!(
        after.registered_ports == before.registered_ports + 1
            && after.services == before.services + 1
            && after.generation > before.generation,
        "the reload does not show: {before:?} -> {after:?}"
    );
    let survived = rig
        .enforcer
        .counters()?
        .count(Guard::Wire, UNTRUSTED, ELASTICSEARCH);
    ensure!(
        survived >= counted,
        "counters were lost: {counted} -> {survived}"
    );

    rig.enforcer.registry(REGISTRY)?;
    rig.enforcer.reload()?;
    answered(from_lan(rig, 15_000, Patience::Long)?).context("the port that was removed")?;
    unanswered(from_lan(rig, 9200, Patience::Brief)?)
}

fn slot_reuse(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 15_000)?;
    let added = format!("{REGISTRY}\n[services.added]\nports = [15000]\n");
    rig.enforcer.registry(&added)?;
    rig.enforcer.up(Guards::Both)?;
    unanswered(from_lan(rig, 15_000, Patience::Brief)?)?;
    rig.enforcer
        .expect_counted(Guard::Wire, UNTRUSTED, Port("tcp", 15_000), 1)?;
    rig.enforcer.registry(REGISTRY)?;
    rig.enforcer.reload()?;
    // Another port takes the slot.
    let other = format!("{REGISTRY}\n[services.other]\nports = [15001]\n");
    rig.enforcer.registry(&other)?;
    rig.enforcer.reload()?;
    let counters = rig.enforcer.counters()?;
    ensure!(
        counters
            .0
            .iter()
            .all(|row| row.service.as_deref() != Some("other")),
        "a new port inherited counts:\n{counters}"
    );
    Ok(())
}

fn dry_run(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 15_000)?;
    rig.enforcer.up(Guards::Both)?;
    let (_, before) = rig.enforcer.status()?;
    rig.enforcer
        .registry(&format!("{REGISTRY}\n[services.added]\nports = [15000]\n"))?;
    let said = rig.enforcer.expect(&["reload", "--dry-run"], 5)?;
    ensure!(
        said.stdout.contains("added") || said.stderr.contains("added"),
        "a dry run should name what would change: {said}"
    );
    let (_, after) = rig.enforcer.status()?;
    ensure!(
        before.generation == after.generation,
        "a dry run switched the policy"
    );
    answered(from_lan(rig, 15_000, Patience::Long)?)
}

/// The line of a dry run, and the same in JSON.
fn dry_run_words(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    let same = rig.enforcer.expect(&["reload", "--dry-run"], 0)?;
    ensure!(same.stdout == "nothing would change\n", "{same}");
    let grafana = "[services.grafana]\nports = [3000]\n";
    let granted = REGISTRY.replace(grafana, &format!("{grafana}allow = [\"collector\"]\n"));
    ensure!(granted != REGISTRY, "the registry is another");
    rig.enforcer.registry(&granted)?;
    let human = rig.enforcer.expect(&["reload", "--dry-run"], 5)?;
    ensure!(
        human.stdout == "+ grafana 3000/tcp: now reachable for collector\n",
        "{human}"
    );
    let said = rig.enforcer.expect(&["reload", "--dry-run", "--json"], 5)?;
    let said: serde_json::Value = serde_json::from_str(&said.stdout)?;
    let line = serde_json::json!([{
        "sign": "+",
        "service": "grafana",
        "protocol": "tcp",
        "port": 3000,
        "what": "now reachable for collector",
    }]);
    ensure!(said == line, "{said}");
    // Changes that would cut sessions are reported too, and refused only without `--dry-run`.
    rig.enforcer
        .registry(&REGISTRY.replace("public = true", ""))?;
    let minded = rig.enforcer.expect(&["reload", "--dry-run"], 5)?;
    ensure!(
        minded.stdout.contains("! ") && minded.stdout.contains("--force"),
        "{minded}"
    );
    Ok(())
}

/// A new address and a lost guard are changes, which a reload takes up.
fn dry_run_host(rig: &Rig<'_>) -> Result<()> {
    let expect = |what: &str| -> Result<()> {
        let said = rig.enforcer.expect(&["reload", "--dry-run"], 5)?;
        ensure!(said.stdout.contains(what), "no `{what}`: {said}");
        rig.enforcer.reload()?;
        let same = rig.enforcer.expect(&["reload", "--dry-run"], 0)?;
        ensure!(same.stdout == "nothing would change\n", "{same}");
        Ok(())
    };
    rig.enforcer.up(Guards::Both)?;
    rig.lab.host.ip("addr add 192.168.77.9/24 dev eth0")?;
    expect("~ this host's own addresses have changed")?;
    rig.lab.host.ip("link add d0 type veth peer name d1
         link set d0 up
         link set d1 up")?;
    expect("~ d0 has no wire guard")?;
    rig.lab.host.ip("link del d0")?;
    expect("~ ")
}

fn fragment(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 15_000)?;
    rig.enforcer.up(Guards::Both)?;
    let fragments = rig.enforcer.config_path()?.with_extension("d");
    std::fs::create_dir(&fragments)?;
    std::fs::write(
        fragments.join("added.toml"),
        "[services.added]\nports = [15000]\n",
    )?;
    rig.enforcer.reload()?;
    unanswered(from_lan(rig, 15_000, Patience::Brief)?)?;
    // A name defined twice names both places.
    std::fs::write(
        fragments.join("again.toml"),
        "[services.added]\nports = [15001]\n",
    )?;
    let finished = rig.enforcer.expect(&["reload"], 2)?;
    ensure!(
        finished.stderr.contains("added.toml") && finished.stderr.contains("again.toml"),
        "expected both places to be named: {finished}"
    );
    unanswered(from_lan(rig, 15_000, Patience::Brief)?)
}

/// A mistake, and the line named by the message (0: any line).
pub(super) const BAD: [(&str, &str, u64); 12] = [
    ("port 0", "[services.a]\nports = [0]\n", 2),
    (
        "a reversed range",
        "[services.a]\nports = [\"9001-9000\"]\n",
        2,
    ),
    (
        "an unknown key",
        "[services.a]\nports = [9200]\nport = [1]\n",
        3,
    ),
    (
        "a port of two services",
        "[services.a]\nports = [9200]\n[services.b]\nports = [9200]\n",
        4,
    ),
    (
        "an unknown peer",
        "[services.a]\nports = [9200]\nallow = [\"x\"]\n",
        3,
    ),
    (
        "public and allow",
        "[services.a]\nports = [9200]\npublic = true\nallow = [\"p\"]\n\
         [peers.p]\ninterface = \"wg0\"\naddresses = [\"any\"]\n",
        0,
    ),
    (
        "a prefix with host bits",
        "[services.a]\nports = [9200]\n\
         [peers.p]\ninterface = \"wg0\"\naddresses = [\"10.10.0.5/24\"]\n",
        5,
    ),
    (
        "a peer with neither key nor addresses",
        "[services.a]\nports = [9200]\n[peers.p]\ninterface = \"wg0\"\n",
        0,
    ),
    ("a bad name", "[services.Upper]\nports = [9200]\n", 1),
    ("a torn table", "[services.a\nports = [9200]\n", 1),
    ("no service at all", "mode = \"enforce\"\n", 0),
    ("an empty file", "", 0),
];

fn bad_registry(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 9200)?;
    rig.enforcer.up(Guards::Both)?;
    let (_, before) = rig.enforcer.status()?;
    for (what, text, line) in BAD {
        rig.enforcer.registry(text)?;
        refuse(rig, &["reload"], line).with_context(|| format!("a registry with {what}"))?;
    }
    // A vanished file changes nothing either.
    std::fs::remove_file(rig.enforcer.config_path()?)?;
    for command in ["reload", "up"] {
        refuse(rig, &[command], 0).context("a registry that is gone")?;
    }
    let (_, after) = rig.enforcer.status()?;
    ensure!(
        before.generation == after.generation && before.services == after.services,
        "a bad registry changed the policy: {before:?} -> {after:?}"
    );
    unanswered(from_lan(rig, 9200, Patience::Brief)?)?;
    expect_state(rig, 0, "enforcing")
}

fn refuse(rig: &Rig<'_>, arguments: &[&str], line: u64) -> Result<()> {
    let finished = rig.enforcer.expect(arguments, 2)?;
    let file = rig.enforcer.config_path()?.display().to_string();
    let place = if line == 0 {
        file
    } else {
        format!("{file}:{line}:")
    };
    ensure!(
        finished.stderr.contains(&place),
        "expected the error to name `{place}…`, but {finished}"
    );
    Ok(())
}

fn bad_registry_at_up(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 9200)?;
    for (what, text, line) in BAD {
        rig.enforcer.registry(text)?;
        refuse(rig, &["up"], line).with_context(|| format!("a registry with {what}"))?;
    }
    expect_state(rig, 4, "off")?;
    answered(from_lan(rig, 9200, Patience::Long)?)
}

fn missing_registry(rig: &Rig<'_>) -> Result<()> {
    std::fs::remove_file(rig.enforcer.config_path()?)?;
    refuse(rig, &["up"], 0)?;
    expect_state(rig, 4, "off")
}

fn audit_global(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 9200)?;
    rig.enforcer
        .registry(&format!("mode = \"audit\"\n{REGISTRY}"))?;
    rig.enforcer.up(Guards::Both)?;
    expect_state(rig, 0, "audit")?;
    answered(from_lan(rig, 9200, Patience::Long)?).context("in audit mode")?;
    for guard in Guard::ALL {
        rig.enforcer
            .expect_counted(guard, UNTRUSTED, ELASTICSEARCH, 1)?;
    }
    let counters = rig.enforcer.counters()?;
    let verdicts = counters
        .0
        .iter()
        .filter(|row| row.reason == UNTRUSTED.name());
    for row in verdicts {
        ensure!(
            row.audited && row.verdict == "drop",
            "expected audited drops, but saw {row:?}"
        );
    }
    // The way back to enforcement is a reload.
    rig.enforcer.registry(REGISTRY)?;
    rig.enforcer.reload()?;
    unanswered(from_lan(rig, 9200, Patience::Brief)?)
}

/// `reload`, `confirm` and `down` tell scripts the kinds of their notes.
fn notes(rig: &Rig<'_>) -> Result<()> {
    let json = |arguments: &[&str], code| -> Result<serde_json::Value> {
        let finished = rig.enforcer.expect(arguments, code)?;
        serde_json::from_str(&finished.stdout).with_context(|| finished.to_string())
    };
    let kinds = |value: &serde_json::Value| -> Vec<String> {
        let notes = value["notes"].as_array().into_iter().flatten();
        let kind = |note: &serde_json::Value| note["kind"].as_str().map(str::to_owned);
        notes.filter_map(kind).collect()
    };
    let nothing = json(&["reload", "--json"], 4)?;
    ensure!(
        kinds(&nothing) == ["nothing-pinned"] && nothing["generation"].is_null(),
        "{nothing}"
    );
    let no_change = json(&["reload", "--dry-run", "--json"], 4)?;
    ensure!(no_change == serde_json::json!([]), "{no_change}");
    let _run = rig.enforcer.run(&[])?;
    let plain = json(&["reload", "--json"], 0)?;
    ensure!(
        plain["schema"] == 1 && plain["generation"] == 2 && kinds(&plain).is_empty(),
        "{plain}"
    );
    let pending = json(&["reload", "--confirm", "60", "--json"], 0)?;
    ensure!(
        kinds(&pending) == ["pending-unchanged", "pending"],
        "{pending}"
    );
    let confirmed = json(&["confirm", "--json"], 0)?;
    ensure!(
        confirmed["generation"] == 3 && kinds(&confirmed).is_empty(),
        "{confirmed}"
    );
    let again = json(&["confirm", "--json"], 1)?;
    ensure!(again["generation"].is_null(), "{again}");
    rig.enforcer
        .registry(&REGISTRY.replace("public = true", ""))?;
    let forced = json(&["reload", "--force", "--json"], 0)?;
    ensure!(kinds(&forced) == ["lockout-accepted"], "{forced}");
    let level = &forced["notes"][0]["level"];
    ensure!(level == "warning", "{forced}");
    let down = json(&["down", "--json"], 0)?;
    ensure!(down["was_pinned"] == true, "{down}");
    let down = json(&["down", "--json"], 0)?;
    ensure!(down["was_pinned"] == false, "{down}");
    Ok(())
}
