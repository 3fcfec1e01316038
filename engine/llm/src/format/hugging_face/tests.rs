use super::*;

fn of(config: &str) -> Result<Metadata> {
    description(config.as_bytes())
}

fn kind(config: &str) -> ErrorKind {
    of(config).expect_err(config).kind()
}

#[test]
fn settings_get_the_keys_of_gguf_files() {
    let config = r#"{"model_type": "qwen2", "hidden_size": 896, "num_attention_heads": 14, "rms_norm_eps": 1e-06,
        "hidden_act": "silu", "head_dim": null, "rope_theta": 1000000, "use_sliding_window": false, "unknown": [{}]}"#;
    let description = of(config).expect("sound");
    assert_eq!(description.text("general.architecture"), Ok(Some("qwen2")));
    assert_eq!(description.unsigned("qwen2.embedding_length"), Ok(Some(896)));
    assert_eq!(description.unsigned("qwen2.attention.key_length"), Ok(None));
    assert_eq!(
        description.float("qwen2.attention.layer_norm_rms_epsilon"),
        Ok(Some(1e-6))
    );
    assert_eq!(description.float("qwen2.rope.freq_base"), Ok(Some(1e6)));
}

#[test]
fn both_places_of_rotary_settings_are_read() {
    for place in ["rope_scaling", "rope_parameters"] {
        let with =
            |rope: &str| of(&format!(r#"{{"model_type": "llama", "{place}": {rope}}}"#)).expect("sound");
        let plain = with(r#"{"rope_type": "default", "rope_theta": 500000.0}"#);
        assert_eq!(plain.float("llama.rope.freq_base"), Ok(Some(500_000.0)));
        assert_eq!(plain.text("llama.rope.scaling.type"), Ok(None));
        let scaled = with(r#"{"type": "yarn", "factor": 4.0}"#);
        assert_eq!(scaled.text("llama.rope.scaling.type"), Ok(Some("yarn")));
        assert_eq!(with("null").text("llama.rope.scaling.type"), Ok(None));
    }
}

#[test]
fn models_that_compute_otherwise_are_refused() {
    for config in [
        r#"{"model_type": "gemma3"}"#,
        r#"{"model_type": "llama", "hidden_act": "gelu"}"#,
        r#"{"model_type": "bert", "hidden_act": "relu"}"#,
        r#"{"model_type": "bert", "position_embedding_type": "relative_key"}"#,
        r#"{"model_type": "bert", "is_decoder": true}"#,
        r#"{"model_type": "qwen2", "use_sliding_window": true}"#,
        r#"{"model_type": "qwen2", "quantization_config": {"bits": 4}}"#,
    ] {
        assert_eq!(kind(config), ErrorKind::Unsupported, "{config}");
    }
    // The same settings mean nothing to other models.
    assert!(of(r#"{"model_type": "llama", "use_sliding_window": true}"#).is_ok());
}

#[test]
fn what_is_no_description_is_corrupt() {
    let deep = format!("{{\"model_type\": \"llama\", \"a\": {}", "[".repeat(100_000));
    for config in [
        "",
        "[]",
        "{}",
        "{\"model_type\": \"llama\"",
        "\u{feff}{}",
        r#"{"model_type": 7}"#,
        r#"{"model_type": "llama", "hidden_size": "large"}"#,
        r#"{"model_type": "llama", "hidden_size": [1]}"#,
        r#"{"model_type": "llama", "hidden_size": 1e999}"#,
        &deep,
    ] {
        assert_eq!(kind(config), ErrorKind::CorruptFile, "{config:.80}");
    }
    let wrong =
        of(r#"{"model_type": "llama", "hidden_size": -8, "num_hidden_layers": 1.5}"#).expect("numbers");
    assert!(wrong.unsigned("llama.embedding_length").is_err());
    assert!(wrong.unsigned("llama.block_count").is_err());
}

#[test]
fn tensors_are_found_by_the_names_of_gguf_files() {
    let names = |model_type: &str| {
        let description = of(&format!(r#"{{"model_type": "{model_type}"}}"#)).expect("sound");
        Names::of(&description).expect("known")
    };
    let decoder = names("qwen2");
    assert_eq!(
        decoder.candidates("token_embd.weight"),
        ["model.embed_tokens.weight"]
    );
    assert_eq!(
        decoder.candidates("blk.12.attn_q.bias"),
        ["model.layers.12.self_attn.q_proj.bias"]
    );
    assert!(decoder.candidates("rope_freqs.weight").is_empty());
    assert!(decoder.candidates("").is_empty());
    assert_eq!(
        names("bert").candidates("blk.3.layer_output_norm.bias"),
        [
            "encoder.layer.3.output.LayerNorm.bias",
            "bert.encoder.layer.3.output.LayerNorm.bias"
        ]
    );
}

#[test]
fn ways_to_pool_are_the_known_ones() {
    let pooling = |json: &str| pooling_type(&object(json.as_bytes(), "pooling").expect("an object"));
    assert_eq!(
        pooling(r#"{"word_embedding_dimension": 384, "pooling_mode_mean_tokens": true}"#),
        Ok(1)
    );
    assert_eq!(
        pooling(r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#),
        Ok(2)
    );
    assert!(pooling(r#"{"pooling_mode_max_tokens": true}"#).is_err());
    assert!(pooling(r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#).is_err());
    let parts = |names: &[&str]| {
        let parts: Vec<String> = names
            .iter()
            .map(|name| format!("{{\"type\": \"a.b.{name}\"}}"))
            .collect();
        normalizes(format!("[{}]", parts.join(",")).as_bytes())
    };
    assert_eq!(parts(&["Transformer", "Pooling"]), Ok(false));
    assert_eq!(parts(&["Transformer", "Pooling", "Normalize"]), Ok(true));
    assert!(parts(&["Transformer", "Pooling", "Dense"]).is_err());
    assert!(normalizes(b"[").is_err());
}
