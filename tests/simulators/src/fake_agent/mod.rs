//! A program in the agent CLI's place that behaves, or misbehaves, as its
//! prompt says.
//!
//! It takes the CLI's flags and ignores them (`--version` aside), because
//! its environment is cleared and its command line belongs to the service:
//! the prompt on stdin is the one thing that reaches it unchanged. Every line
//! of the prompt that begins with `mode:` is played in order; all other lines
//! but `leak:` ones are ignored. No such line, or no prompt, means `mode: ok`.
//! An unknown mode or option is refused with exit code 64, so that a typing
//! mistake cannot make a test pass.
//!
//! ```text
//! mode: flood lines=200000 bytes=200
//! mode: write path=out.txt text="two words\n"
//! ```
//!
//! Options are `name=value`; a value in double quotes is read as a JSON
//! string. The `init` line comes before the first line that a mode writes,
//! and a successful `result` line, exit code 0, after the last mode, unless
//! one of them ends the run itself (those are marked *ends*).
//!
//! # Modes that write
//! * `ok turns=1 text="All done."`: a text, then `turns` Bash calls with their
//!   results, then `text`, which is the final result too.
//! * `tools name=Bash turns=5`: nothing but tool calls and results.
//! * `flood lines=100000 bytes=200`: lines of exactly so many bytes, the
//!   newline included, as fast as it can: `{"type":"assistant","n":0,…}` with
//!   `n` from 0.
//! * `slow lines=10 every_ms=100`: numbered lines `{"type":"assistant","n":0}`,
//!   each after a pause.
//! * `huge bytes=1048576`: one assistant line of exactly so many bytes, the
//!   newline not counted.
//! * `not-utf8`: a JSON line with broken UTF-8, binary and plain text lines,
//!   an empty one, control sequences, a carriage return.
//! * `stderr-flood lines=100000 bytes=200`: the same on stderr, as text.
//! * `env`: its arguments, folder and environment, the environment and
//!   command line of every process it may read, and every `leak:` string of
//!   the prompt (the rest of the line, or a JSON string) in many forms: each
//!   in a line of JSON and in a line of plain text.
//! * `read path=…`: a file's text, or why it cannot be read.
//! * `write path=… text=…`: writes a file, its folders too; says `wrote …` or
//!   why not.
//! * `sh command="…"`: runs a shell command as the Bash tool would, its
//!   output in a `tool_result`.
//! * `http path=/v1/messages method=POST credential=own url=… header="N: v"
//!   body=… timeout_ms=10000`: one raw HTTP request, its target sent untouched,
//!   to `url` or else `ANTHROPIC_BASE_URL`; `header` may be repeated;
//!   `credential` is `own`, `wrong` or `none`. Says
//!   `<credential> <method> <path> -> <status line>` and the body's beginning.
//! * `proxy-probe`: a fixed list of such requests, right and wrong, against
//!   `ANTHROPIC_BASE_URL`; says `<credential> <method> <path> -> <status>` for
//!   each, the status being a number, `refused`, `closed` or `timeout`.
//!
//! # Modes that tamper
//! * `truncate`: cuts its own stdout file to nothing.
//! * `rewrite how=refill`: cuts it and fills it beyond its old size;
//!   `how=inplace`: overwrites its beginning.
//!
//! # Modes about processes
//! Each says `pid <kind> <pid>` for what it leaves behind.
//! * `children seconds=600`: a plain background child (`plain`), one in a
//!   session of its own (`setsid`), a double-forked daemon (`daemon`).
//! * `late-children every_ms=50 count=100`: a process in its own session that
//!   ignores INT and TERM (`spawner`) and goes on starting children.
//! * `background-noise every_ms=20 count=500`: a background process (`noise`)
//!   that goes on writing lines to the same stdout after the result.
//! * `ignore-term`: *ends* never: ignores INT and TERM, as does a child of its
//!   own (`stubborn`).
//! * `hang`: *ends* never: nothing more is written.
//! * `signal name=SEGV`: *ends* by that signal: `SEGV`, `KILL`, `TERM`, `ABRT`,
//!   `INT` or `HUP`.
//!
//! # Modes that end without success
//! * `no-result`: *ends* with a text and exit code 0.
//! * `no-output`: *ends* with exit code 0; writes nothing.
//! * `error-result rc=0 subtype=success text="…" status=401`: *ends* with a
//!   result that has `is_error`; `status` is its `api_error_status`.
//! * `lone-surrogate`: *ends* well, with a result that holds half an emoji and
//!   numbers that no double holds.
//! * `exit code=1 stderr="…"`: *ends* with this exit code; writes nothing else.

mod leaks;
mod probe;
mod processes;
mod program;
mod script;
mod stage;
mod tamper;
mod writing;

pub use program::main;
