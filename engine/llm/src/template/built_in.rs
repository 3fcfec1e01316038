//! Templates for models whose files have none.

/// The source of the template of this name.
pub(super) fn source(name: &str) -> Option<&'static str> {
    match name {
        "chatml" => Some(CHATML),
        "llama2" => Some(LLAMA2),
        "llama3" => Some(LLAMA3),
        "zephyr" => Some(ZEPHYR),
        _ => None,
    }
}

const CHATML: &str = concat!(
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}",
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
);

const LLAMA2: &str = concat!(
    "{% for message in messages %}",
    "{% if message.role == 'system' %}",
    "{% if not loop.first %}{{ raise_exception('a system message after others') }}{% endif %}",
    "{% elif message.role == 'assistant' %}{{ ' ' ~ message.content | trim ~ ' ' ~ eos_token }}",
    "{% else %}{{ bos_token }}[INST] ",
    "{% if loop.index0 == 1 and messages[0].role == 'system' %}{{ '<<SYS>>\n' ~ messages[0].content ~ '\n<</SYS>>\n\n' }}{% endif %}",
    "{{ message.content | trim }} [/INST]{% endif %}{% endfor %}"
);

const LLAMA3: &str = concat!(
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n",
    "{{ message.content | trim }}<|eot_id|>{% endfor %}",
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
);

const ZEPHYR: &str = concat!(
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}{{ eos_token }}\n{% endfor %}",
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
);
