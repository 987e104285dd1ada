//! From the program's arguments to what dsvm-agent(1) says of its commands.

use super::roff::{bold, escape, prose};
use clap::{Arg, Command};

/// Every command that people may type, in the order of the program's help, each with its arguments.
pub fn commands(command: &Command) -> String {
    let mut out = String::new();
    walk(command, command.get_name(), &mut out);
    out
}

/// The options that go with every command, those that clap adds among them.
pub fn options(command: &Command) -> String {
    let mut out: String = shown(command).map(argument).collect();
    for (long, short, help) in
        [("--help", "-h", "Print help; behind a command, for that command."), ("--version", "-V", "Print the version.")]
    {
        out.push_str(&format!(".TP\n{}, {}\n{}\n", bold(short), bold(long), prose(help)));
    }
    out
}

/// The definition without what is hidden: completions should not offer that either.
pub fn without_hidden(command: &Command) -> Command {
    // clap takes names that live as long as the program, which is over in a moment. With names of any life it would be
    // another clap than the agent's, and everything that uses it would be built twice.
    let lasting = |text: &str| -> &'static str { text.to_owned().leak() };
    let mut out = Command::new(lasting(command.get_name()));
    out = out.args(command.get_arguments().filter(|a| !a.is_hide_set()).cloned());
    out = out.subcommands(command.get_subcommands().filter(|c| !c.is_hide_set()).map(without_hidden));
    if let Some(about) = command.get_about() {
        out = out.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        out = out.version(lasting(version));
    }
    out.subcommand_required(command.is_subcommand_required_set())
}

fn walk(command: &Command, path: &str, out: &mut String) {
    for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        let path = format!("{path} {}", inner.get_name());
        let has_more = inner.get_subcommands().next().is_some();
        if !has_more || !inner.is_subcommand_required_set() {
            out.push_str(&one(inner, &path));
        }
        if has_more {
            walk(inner, &path, out);
        }
    }
}

fn one(command: &Command, path: &str) -> String {
    let synopsis: String = shown(command).map(|a| format!(" {}", usage(a))).collect();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let mut out = format!(".TP\n{}{synopsis}\n{}", bold(path), paragraphs(&about));
    let arguments: String = shown(command).map(argument).collect();
    if !arguments.is_empty() {
        out.push_str(&format!(".RS\n{arguments}.RE\n"));
    }
    out
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|a| !a.is_hide_set())
}

/// How the argument stands in a line, in brackets if it may be left out.
fn usage(argument: &Arg) -> String {
    let name = name(argument);
    let more = argument.get_num_args().is_some_and(|n| n.max_values() > 1);
    let name = if more { format!("{name} \\[u2026]") } else { name };
    // What is another program's begins behind this.
    let name = if argument.is_last_set() { format!("{} {name}", bold("--")) } else { name };
    if argument.is_required_set() { name } else { format!("[{name}]") }
}

/// The argument's own name and that of its value.
fn name(argument: &Arg) -> String {
    let value = argument.get_value_names().unwrap_or_default().join(" ");
    let value = if value.is_empty() { argument.get_id().as_str().to_uppercase() } else { value };
    let value = format!("\\fI{}\\fR", escape(&value));
    let Some(long) = argument.get_long() else { return value };
    let option = bold(&format!("--{long}"));
    if argument.get_action().takes_values() { format!("{option} {value}") } else { option }
}

fn argument(argument: &Arg) -> String {
    let short = argument.get_short().map(|c| format!("{}, ", bold(&format!("-{c}")))).unwrap_or_default();
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut out = format!(".TP\n{short}{}\n{}", name(argument), paragraphs(&help));
    let defaults = argument.get_default_values();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        let values: Vec<_> = defaults.iter().map(|v| bold(&v.to_string_lossy())).collect();
        out.push_str(&format!("When left out: {}.\n", values.join(" ")));
    }
    out
}

/// Paragraphs below a tag, each ended as a sentence: clap's texts have no full stop at their end.
fn paragraphs(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let ended = |p: &str| if p.ends_with(['.', ':', '!', '?']) { p.to_owned() } else { format!("{p}.") };
    let all: Vec<_> = text.split("\n\n").map(|p| prose(&ended(&p.replace('\n', " ")))).collect();
    format!("{}\n", all.join("\n.IP\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn program() -> Command {
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("As JSON");
        let time = Arg::new("time").long("time").short('t').value_name("DURATION").default_value("5m").help("How long");
        Command::new("prog")
            .version("1")
            .arg(Arg::new("config").long("config").value_name("FILE").global(true).help("Settings"))
            .subcommand(Command::new("look").about("Looks.\n\nTwice").arg(json).arg(time))
            .subcommand(Command::new("secret").hide(true).about("Not for people"))
            .subcommand(
                Command::new("set")
                    .subcommand_required(true)
                    .subcommand(Command::new("one").about("Sets").arg(Arg::new("file").required(true))),
            )
            .subcommand(
                Command::new("hold")
                    .about("Holds")
                    .arg(Arg::new("command").last(true).num_args(0..).value_name("COMMAND"))
                    .subcommand(Command::new("end").about("Ends that")),
            )
    }

    #[test]
    fn every_command_is_told_with_its_arguments_and_nothing_hidden() {
        let text = commands(&program());
        let expected = "\
.TP
\\fBprog look\\fR [\\fB\\-\\-json\\fR] [\\fB\\-\\-time\\fR \\fIDURATION\\fR]
Looks.
.IP
Twice.
.RS
.TP
\\fB\\-\\-json\\fR
As JSON.
.TP
\\fB\\-t\\fR, \\fB\\-\\-time\\fR \\fIDURATION\\fR
How long.
When left out: \\fB5m\\fR.
.RE
.TP
\\fBprog set one\\fR \\fIFILE\\fR
Sets.
.RS
.TP
\\fIFILE\\fR
.RE
.TP
\\fBprog hold\\fR [\\fB\\-\\-\\fR \\fICOMMAND\\fR \\[u2026]]
Holds.
.RS
.TP
\\fICOMMAND\\fR
.RE
.TP
\\fBprog hold end\\fR
Ends that.
";
        assert_eq!(text, expected);
        assert!(options(&program()).contains("\\fB\\-\\-config\\fR \\fIFILE\\fR\nSettings.\n"));
    }

    #[test]
    fn what_is_hidden_is_gone_and_the_rest_is_there() {
        let names = |c: &Command| c.get_subcommands().map(|c| c.get_name().to_owned()).collect::<Vec<_>>();
        let rest = without_hidden(&program());
        assert_eq!(names(&rest), ["look", "set", "hold"]);
        assert_eq!(names(rest.find_subcommand("set").expect("set")), ["one"]);
        assert_eq!(rest.find_subcommand("look").expect("look").get_arguments().count(), 2);
    }
}
