use proptest::prelude::*;

use super::*;

const MARKS: [&str; 4] = ["<|im_start|>", "<|im_end|>", "</s>", "[INST]"];

fn names() -> Names<'static> {
    Names {
        marks: MARKS.to_vec(),
        begin: "<s>",
        end: "</s>",
    }
}

const OPTIONS: PromptOptions = PromptOptions {
    add_generation_prompt: true,
    now: 1_700_000_000,
};

fn nothing() -> Box<dyn Any> {
    Box::new(())
}

fn messages(turns: &[(Role, &str)]) -> Vec<Message> {
    let message = |(role, content): &(Role, &str)| Message {
        role: *role,
        content: (*content).to_owned(),
    };
    turns.iter().map(message).collect()
}

fn runs(source: &str, turns: &[(Role, &str)]) -> Result<Vec<Run>> {
    PromptTemplate::new(source, nothing)?.runs(&messages(turns), &names(), OPTIONS, nothing)
}

fn text_of(runs: &[Run]) -> String {
    runs.iter().map(|run| run.text.as_str()).collect()
}

fn written(source: &str, content: &str) -> String {
    text_of(&runs(source, &[(Role::User, content)]).expect("a prompt"))
}

fn marks_of(runs: &[Run]) -> Vec<&str> {
    let marks = runs.iter().filter(|run| run.trust == Trust::Template);
    marks.map(|run| run.text.as_str()).collect()
}

#[test]
fn templates_that_come_along_write_conversations_as_their_models_know_them() {
    let turns = [
        (Role::System, "Be brief."),
        (Role::User, "Hi"),
        (Role::Assistant, "Hello"),
        (Role::User, "Bye"),
    ];
    let written = |name: &str| {
        let template = PromptTemplate::built_in(name, nothing).expect("known");
        text_of(
            &template
                .runs(&messages(&turns), &names(), OPTIONS, nothing)
                .expect("a prompt"),
        )
    };
    assert_eq!(
        written("chatml"),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n\
         <|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        written("zephyr"),
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n<|user|>\nBye</s>\n<|assistant|>\n"
    );
    assert_eq!(
        written("llama2"),
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]"
    );
    assert!(written("llama3").ends_with(
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ));
    assert!(PromptTemplate::built_in("another", nothing).is_err());
}

/// Templates that cut, join, repeat and compare what they are given.
const CURIOUS: [&str; 9] = [
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>{% endfor %}",
    "{{ messages[0]['content'].strip().split('X') | join('') }}</s>",
    "{{ messages[0].content.replace('X', '') }}<|im_end|>",
    "{{ messages[0].content[::-1] }}{{ messages[0].content[3:] }}",
    "<{{ messages[0].content }}>",
    "<|{{ messages[0].content }}|>",
    "<|im_{{ messages[0].content.split('X')[-1] }}",
    "{{ messages[0].content ~ messages[0].content | upper }}{{ messages[0].content | tojson }}",
    "{% if '</think>' in messages[0].content %}{{ messages[0].content.split('</think>')[-1] }}{% endif %}</s>",
];

proptest! {
    #[test]
    fn nothing_that_a_user_writes_becomes_a_mark(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "<|im_start|>", "<|im_end|>", "</s>", "[INST]", "im_end", "<|im_", "end|>", "|>", "<|", "<", ">", "X", "</think>", "\n",
                " ", "a", "/s", "INST", "\u{f0000}", "\u{f0001}", ">s/<", "X>|", "</thi", "nk>",
            ]),
            0..8,
        ),
    ) {
        let content = pieces.concat();
        for source in CURIOUS {
            let with = runs(source, &[(Role::User, &content)]).expect("a prompt");
            let without = runs(source, &[(Role::User, "a")]).expect("a prompt");
            // All that is a mark is the template's own, also where it wrote nothing for another message.
            let own = marks_of(&without);
            prop_assert!(marks_of(&with) == own, "{source} of {content:?}: {with:?}");
            let texts = with.iter().filter(|run| run.trust == Trust::User);
            prop_assert!(texts.clone().all(|run| !run.text.is_empty()));
        }
        // And nothing of it is lost.
        prop_assert_eq!(written(CURIOUS[4], &content), format!("<{content}>"));
    }
}

#[test]
fn templates_that_look_into_messages_see_what_is_there() {
    assert_eq!(
        written("{{ messages[0].content | trim }}|", " \n<|im_end|> \t"),
        "<|im_end|>|"
    );
    assert_eq!(written("{{ messages[0].content | length }}", "<|im_end|>"), "10");
    assert_eq!(
        written(
            "{% if messages[0].content == 'seven' %}yes{% else %}no{% endif %}",
            "seven"
        ),
        "yes"
    );
    assert_eq!(
        written(
            "{{ messages[0].content.split('</think>')[-1].lstrip('\\n') }}",
            "<think>x</think>\nso <|im_end|>"
        ),
        "so <|im_end|>"
    );
    assert_eq!(
        written("{{ messages[0].content.splitlines() | last }}", "a\nb <s>"),
        "b <s>"
    );
    assert_eq!(
        written("{{ messages[0].content | tojson }}", "a \"b\"\n<é>"),
        "\"a \\\"b\\\"\\n<é>\""
    );
}

#[test]
fn templates_find_what_others_offer_them() {
    assert_eq!(written("{{ strftime_now('%d %b %Y') }}", ""), "14 Nov 2023");
    assert_eq!(
        written(
            "{% if tools is defined %}a{% elif tools %}b{% else %}c{% endif %}",
            ""
        ),
        "c"
    );
    assert_eq!(
        written("{%- generation %}{{ none }} {{ true }}{%- endgeneration %}", ""),
        "None True"
    );
    assert_eq!(
        written("{{ {'b': [1, 2.5, none], 'a': {}} | tojson }}", ""),
        "{\"b\": [1, 2.5, null], \"a\": {}}"
    );
    assert_eq!(
        written("{{ {'b': [1]} | tojson(indent=2) }}", ""),
        "{\n  \"b\": [\n    1\n  ]\n}"
    );
    assert_eq!(
        written(
            "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            ""
        ),
        "01"
    );
    let refused = runs(
        "{{ raise_exception('no ' ~ messages[0].content) }}",
        &[(Role::User, "<|im_end|>")],
    );
    let error = refused.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().ends_with("no <|im_end|>"), "{error}");
}

#[test]
fn templates_that_never_end_or_take_all_memory_are_errors() {
    let nest = |value: &str| {
        format!(
            "{{% set n = namespace(x=[]) %}}{{% for i in range(90000) %}}{{% set n.x = {value} %}}{{% endfor %}}"
        )
    };
    let twice = "{% set n = namespace(x='aa') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}";
    let hostile = [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
        twice.to_owned(),
        "{{ 'a' * 99999999999 }}".to_owned(),
        "{{ range(99999999999) | list }}".to_owned(),
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}".to_owned(),
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('a') }}".to_owned(),
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        "{{ [1] | tojson(indent=99999999999) }}".to_owned(),
        format!("{}{{{{ n.x }}}}", nest("[n.x]")),
        format!("{}{{{{ n.x | tojson }}}}", nest("[n.x, n.x]")),
        nest("{'a': n.x}"),
        "{% set x %}{% for i in range(99999) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endset %}{{ x * 9999 }}"
            .to_owned(),
    ];
    for source in hostile {
        let error = runs(&source, &[]).expect_err("refused");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::LimitExceeded | ErrorKind::InvalidArgument
            ),
            "{source}: {error}"
        );
    }
}

#[test]
fn sources_of_any_shape_are_templates_or_errors() {
    let deep = |before: &str, middle: &str, after: &str| {
        let times = 120_000 / (before.len() + after.len());
        format!("{}{middle}{}", before.repeat(times), after.repeat(times))
    };
    for source in [
        format!("{{{{ {} }}}}", deep("(", "1", ")")),
        format!("{{{{ {} }}}}", deep("[", "1", "]")),
        format!("{{{{ {} }}}}", deep("1+", "1", "")),
        format!("{{{{ {} }}}}", deep("not ", "1", "")),
        format!("{{{{ {} }}}}", deep("- ", "1", "")),
        format!("{{{{ a{} }}}}", deep(".a", "", "")),
        format!("{{{{ a{} }}}}", deep("|e", "", "")),
        format!("{{{{ {} }}}}", deep("1 if 1 else ", "1", "")),
        deep("{% if 1 %}", "", "{% endif %}"),
        format!("{{% if 1 %}}{}{{% endif %}}", deep("{% elif 1 %}", "", "")),
        "{{".to_owned(),
        "{% for %}".to_owned(),
        String::new(),
    ] {
        // Whether it is one is minijinja's matter; that it comes back is ours.
        let _either = runs(&source, &[(Role::User, "a")]);
    }
    let error = PromptTemplate::new(&"a".repeat(MAX_TEMPLATE_BYTES + 1), nothing).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

#[test]
fn long_conversations_have_fuel_enough() {
    let turn = "word ".repeat(2000);
    let turns = vec![(Role::User, turn.as_str()); 300];
    let template = PromptTemplate::built_in("llama3", nothing).expect("known");
    let runs = template
        .runs(&messages(&turns), &names(), OPTIONS, nothing)
        .expect("a prompt");
    assert!(text_of(&runs).len() > 300 * turn.trim().len());
}

#[test]
fn templates_are_found_in_a_tokenizers_configuration() {
    let found = |text: &str| PromptTemplate::source_in_config(text);
    assert_eq!(found("{\"chat_template\": \"a\"}"), Ok(Some("a".to_owned())));
    assert_eq!(
        found(
            "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"b\"}, {\"name\": \"default\", \"template\": \"a\"}]}"
        ),
        Ok(Some("a".to_owned()))
    );
    assert_eq!(found("{}"), Ok(None));
    for wrong in [
        "",
        "{\"chat_template\": 1}",
        "{\"chat_template\": [{\"name\": \"default\"}]}",
    ] {
        assert_eq!(
            found(wrong).expect_err("refused").kind(),
            ErrorKind::CorruptFile,
            "{wrong}"
        );
    }
}

#[test]
fn roles_are_known_by_name() {
    for role in [Role::System, Role::User, Role::Assistant, Role::Tool] {
        assert_eq!(Role::named(role.name()), Ok(role));
    }
    assert!(Role::named("im_start").is_err());
}
