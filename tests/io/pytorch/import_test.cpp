#include "fbt/io/pytorch/import.hpp"

#include "support/catch.hpp"
#include "support/changed_file.hpp"
#include "support/comparison.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/scratch.hpp"
#include "support/small_models.hpp"

#include <bit>

using namespace fbt;

namespace {

using Model = FeedbackTransformer<double>;

TensorFile golden(const std::string& name, const char* kind) {
  return TensorFile::read(fmt::format("{}/{}.{}.safetensors", FBT_GOLDEN, name, kind));
}
std::string any_golden() {
  return GENERATE(values<std::string>(
      {"lucidrains", "labml_kv", "labml_original", "official_shared", "official_per_layer", "official_post_norm"}));
}
/// Only lucidrains' files do not tell it.
Index window_of(const std::string& name) { return name == "lucidrains" ? 8 : 0; }
Index window_of(Layout layout, const Config& config) { return layout == Layout::lucidrains ? config.window : 0; }

/// A config whose models have a place in the layout. bits: the switches that the layout leaves open.
Config config_of(Layout layout, Index layers, int bits) {
  Config c;
  c.vocabulary = 7;
  c.width = 6;
  c.layers = layers;
  c.heads = 2;
  c.head_size = bits & 1 ? 5 : 3;
  c.feed_forward = 9;
  c.window = bits & 2 ? 1 : 11;
  c.memory_norm = MemoryNorm::none;
  c.share_key_value = layers == 1 || layout == Layout::lucidrains || bits & 4;
  if (layout == Layout::official) {
    c.empty_memory = EmptyMemory::zero_slots;
    c.pre_norm = bits & 8;
    c.memory_norm = c.pre_norm ? MemoryNorm::block : MemoryNorm::none;
    c.output_bias = false;
    c.log_probabilities = true;
  } else if (layout == Layout::labml) {
    c.position = PositionTerm::per_head;
    c.value_bias = bits & 8;
  } else {
    c.position = PositionTerm::none;
    c.activation = Activation::geglu;
  }
  return c;
}
Model model_of(const Config& config, std::uint64_t seed = 1) {
  Random random(seed);
  return scattered_model<double>(config, random);
}
Layout any_layout() { return GENERATE(Layout::official, Layout::labml, Layout::lucidrains); }

Matrix<double> logits_of(const Model& model) {
  Random random(3);
  const auto tokens = random_tokens(2 * 9, model.config().vocabulary, random);
  Model::Memory memory = model.make_memory(2);
  Model::Trace trace;
  return model.forward(tokens, {9, 2, false, 0}, memory, trace);
}

std::string message_of_import(const std::filesystem::path& path, Index window = 0) {
  return message_of<std::runtime_error>([&] { import_model<double>(TensorFile::read(path), window); });
}

/// The names that share storage in a file, with the names that were kept.
Metadata aliases_of(const TensorFile& file) {
  Metadata aliases = file.metadata();
  aliases.erase("format");
  return aliases;
}
void add_copies(Metadata& metadata, Views& tensors) {
  for (const auto& [name, kept] : metadata)
    if (tensors.contains(kept)) tensors[name] = tensors.at(kept);
}

template <class Scalar>
void check_golden(const std::string& name, double limit) {
  const auto imported = import_model<Scalar>(golden(name, "weights"), window_of(name));
  const example::Comparison found = example::compare(imported, golden(name, "expected"));
  CAPTURE(name, found.worst_tensor);
  CHECK(found.logits < limit);
  CHECK(found.loss < limit);
  CHECK(found.gradients < limit);
  CHECK(found.tensors >= golden(name, "weights").tensors().size() - 1);  // all but a buffer
  CHECK(imported.warnings.empty());
}

}  // namespace

TEST_CASE("import: logits, loss and gradients of three implementations") {
  const std::string name = any_golden();
  check_golden<double>(name, 1e-10);
  check_golden<float>(name, 1e-5);
}

TEST_CASE("import: a comparison finds what differs") {
  const ScratchFolder folder;
  const auto imported = import_model<double>(golden("labml_kv", "weights"));
  const auto compare = [&](auto&& change) {
    return example::compare(imported, TensorFile::read(changed_file(folder, golden("labml_kv", "expected").name(), change)));
  };
  /// Adds to the last number of a tensor.
  const auto compare_with = [&](const std::string& name, double addend) {
    std::string bytes;
    return compare([&](Metadata&, Views& tensors) {
      TensorView& tensor = tensors.at(name);
      bytes = tensor.bytes;
      const double number = tensor.number(tensor.size() - 1) + addend;
      std::memcpy(bytes.data() + bytes.size() - sizeof(double), &number, sizeof(double));
      tensor.bytes = bytes;
    });
  };
  CHECK(compare_with("logits", 0.5).logits == Approx(0.5));
  CHECK(compare_with("loss", 0.25).loss == Approx(0.25));
  CHECK(std::isinf(compare_with("logits", NAN).logits));
  CHECK(std::isinf(compare_with("loss", NAN).loss));
  for (const std::string name : {"grad.transformer.weights", "grad.transformer.layers.1.attn.key_pos_bias"}) {
    const example::Comparison found = compare_with(name, 1e3);
    CHECK(found.worst_tensor == name);
    CHECK(found.gradients == Approx(1).epsilon(1e-2));
    CHECK(found.logits < 1e-10);
  }
  CHECK_THAT(message_of<std::runtime_error>(
                 [&] { compare([](Metadata&, Views& tensors) { tensors.erase("grad.generator.bias"); }); }),
             ContainsSubstring("expected a tensor named grad.generator.bias, found none"));
  CHECK_THAT(message_of<std::runtime_error>([&] {
               compare([](Metadata&, Views& tensors) { tensors.at("targets").shape = {9, 3}; });
             }),
             ContainsSubstring("targets: expected shape (3, 9), found (9, 3)"));
}

TEST_CASE("import: the config is told from the file") {
  const std::string name = any_golden();
  const Config c = import_model<float>(golden(name, "weights"), window_of(name)).model.config();
  const Metadata metadata = golden(name, "expected").metadata();
  int compared = 0;
  const auto compare = [&](std::initializer_list<const char*> keys, const auto& found) {
    for (const char* key : keys) {
      if (!metadata.contains(key)) continue;
      INFO(name << ": " << key);
      CHECK(metadata.at(key) == fmt::format("{}", found));
      ++compared;
    }
  };
  compare({"vocabulary"}, c.vocabulary);
  compare({"dim", "hid_sz", "d_model"}, c.width);
  compare({"depth", "nlayers", "n_layers"}, c.layers);
  compare({"heads", "nheads"}, c.heads);
  compare({"dim_head", "head_dim"}, c.head_columns());
  compare({"inner_hid_sz", "d_ff"}, c.hidden_units());
  compare({"attn_lim", "mem_len"}, c.window);
  compare({"pre_norm"}, c.pre_norm ? "True" : "False");
  compare({"share_proj_kv"}, c.share_key_value ? "True" : "False");
  compare({"output"}, c.log_probabilities ? "log-probabilities" : "logits");
  compare({"module"}, c.share_key_value ? "FeedbackTransformerKV" : "FeedbackTransformer");
  CHECK(compared >= 6);
}

TEST_CASE("export: the file that PyTorch wrote, again") {
  const std::string name = any_golden();
  const ScratchFolder folder;
  const TensorFile original = golden(name, "weights");
  const auto imported = import_model<float>(original, window_of(name));
  export_model(folder / "a", imported.model, imported.layout, imported.details);
  const TensorFile file = TensorFile::read(folder / "a");
  CHECK(file.metadata() == original.metadata());
  CHECK(file.tensors().size() == original.tensors().size());
  for (const TensorView& tensor : original.tensors()) {
    INFO(tensor.name);
    const TensorView& found = file.get(tensor.name);
    CHECK(found.dtype == tensor.dtype);
    CHECK(found.shape == tensor.shape);
    if (tensor.name != "single_memory_attn_buf" && tensor.name != "pos_emb.relative_attention_bias.weight")
      CHECK(found.bytes == tensor.bytes);
  }
}

TEST_CASE("export, then import: models of any size") {
  const Layout layout = any_layout();
  const Index layers = GENERATE(1, 3, 5);
  const ScratchFolder folder;
  for (int bits = 0; bits < 16; ++bits) {
    const Config config = config_of(layout, layers, bits);
    const Model model = model_of(config);
    CAPTURE(describe(config));
    export_model(folder / "a", model, layout);
    const Index window = window_of(layout, config);
    const auto imported = import_model<double>(TensorFile::read(folder / "a"), window);
    CHECK(imported.layout == layout);
    CHECK(imported.model.config() == config);
    CHECK(same(imported.model, model));
    CHECK(logits_of(imported.model) == logits_of(model));

    // without __metadata__, with and without the copies
    const auto copies = changed_file(folder, folder / "a", [](Metadata& metadata, Views& tensors) {
      add_copies(metadata, tensors);
      metadata.clear();
    });
    CHECK(same(import_model<double>(TensorFile::read(copies), window).model, model));
    const auto bare = changed_file(folder, folder / "a", [](Metadata& metadata, Views&) { metadata.clear(); });
    CHECK(same(import_model<double>(TensorFile::read(bare), window).model, model));
  }
}

TEST_CASE("import: copies that disagree are refused") {
  const Layout layout = GENERATE(Layout::official, Layout::lucidrains);
  const int bits = GENERATE(4, 4 | 8, 8);
  const Config config = config_of(layout, 3, bits);
  const ScratchFolder folder;
  export_model(folder / "a", model_of(config), layout);
  const Metadata aliases = aliases_of(TensorFile::read(folder / "a"));
  CHECK(!aliases.empty());
  for (const auto& alias : aliases) {
    const std::string &name = alias.first, &kept = alias.second;
    for (const bool metadata_kept : {true, false}) {
      std::string bytes;
      const auto path = changed_file(folder, folder / "a", [&](Metadata& metadata, Views& tensors) {
        add_copies(metadata, tensors);
        if (!metadata_kept) metadata.clear();
        bytes = tensors.at(name).bytes;
        bytes.back() = static_cast<char>(bytes.back() ^ 1);
        tensors.at(name).bytes = bytes;
      });
      const std::string message = message_of_import(path, window_of(layout, config));
      CAPTURE(message);
      CHECK(message ==
            fmt::format("{}: the tensors do not fit the model:\n  {}: expected the same values as {}, found others",
                        path.string(), name, kept));
    }
  }
}

TEST_CASE("import: norms that are equal by chance are not shared") {
  const ScratchFolder folder;
  Random random(1);
  const Config config = config_of(Layout::official, 3, 8);
  const Model model(config, random);  // all norms are as they begin
  export_model(folder / "a", model, Layout::official);
  const auto imported = import_model<double>(TensorFile::read(folder / "a"));
  CHECK(!imported.model.config().share_key_value);
  CHECK(same(imported.model, model));
}

TEST_CASE("import: any tensor that is missing, misshapen or renamed is named") {
  const std::string name = any_golden();
  const ScratchFolder folder;
  const TensorFile original = golden(name, "weights");
  const auto message = [&](auto&& change) {
    return message_of_import(changed_file(folder, original.name(), change), window_of(name));
  };
  for (const TensorView& tensor : original.tensors()) {
    if (tensor.name == "single_memory_attn_buf") continue;  // a model can do without
    // what the config cannot be told without is asked for by itself
    const bool alone = tensor.name == "layers.0.attn.attn.key_pe" || tensor.name == "pos_emb.relative_attention_bias.weight";
    const std::string missing = message([&](Metadata&, Views& tensors) { tensors.erase(tensor.name); });
    CHECK_THAT(missing, ContainsSubstring(alone ? tensor.name + ": expected a tensor of " : "\n  missing " + tensor.name));
    const std::string renamed = message([&](Metadata&, Views& tensors) {
      tensors["other." + tensor.name] = tensors.at(tensor.name);
      tensors.erase(tensor.name);
    });
    CHECK_THAT(renamed, ContainsSubstring(alone ? tensor.name : "\n  missing " + tensor.name));
    if (!alone) CHECK_THAT(renamed, ContainsSubstring("\n  unexpected other." + tensor.name + " of shape"));
    const std::string misshapen = message([&](Metadata&, Views& tensors) { tensors.at(tensor.name).shape.push_back(1); });
    CHECK_THAT(misshapen, ContainsSubstring(alone ? tensor.name : "\n  " + tensor.name + ": expected shape ("));
    if (!alone) CHECK(std::count(misshapen.begin(), misshapen.end(), '\n') >= 1);
  }
}

TEST_CASE("import: all that is wrong is listed in one error") {
  const ScratchFolder folder;
  const auto path = changed_file(folder, golden("official_per_layer", "weights").name(), [](Metadata&, Views& tensors) {
    tensors.erase("in_emb.weight");
    tensors.erase("layers.2.attn.proj_query.weight");
    std::swap(tensors.at("layers.1.ff.fc1.weight").shape[0], tensors.at("layers.1.ff.fc1.weight").shape[1]);
    tensors.at("single_memory_attn_params").shape = {4};
    tensors["layers.0.attn.scale"] = tensors.at("layers.0.norm1.weight");
  });
  CHECK(message_of_import(path) == path.string() +
                                       ": the tensors do not fit the model:\n"
                                       "  missing in_emb.weight of shape (11, 16)\n"
                                       "  layers.1.ff.fc1.weight: expected shape (24, 16), found (16, 24)\n"
                                       "  missing layers.2.attn.proj_query.weight of shape (24, 16)\n"
                                       "  single_memory_attn_params: expected shape (1, 4), found (4)\n"
                                       "  unexpected layers.0.attn.scale of shape (16)");
}

TEST_CASE("import: weights that are whole numbers are refused") {
  const Layout layout = any_layout();
  const ScratchFolder folder;
  export_model(folder / "a", model_of(config_of(layout, 2, 4)), layout);
  const auto path = changed_file(folder, folder / "a", [&](Metadata&, Views& tensors) {
    for (auto& [name, tensor] : tensors) tensor.dtype = Dtype::i64;
  });
  CHECK_THAT(message_of_import(path, layout == Layout::lucidrains ? 4 : 0),
             ContainsSubstring(": expected dtype F16, BF16, F32 or F64, found I64"));
}

TEST_CASE("import: weights of other dtypes") {
  const Layout layout = any_layout();
  const ScratchFolder folder;
  Model model = model_of(config_of(layout, 2, 4));
  visit([](std::string_view, auto& tensor) { tensor = (tensor.array() * 16).round() / 16; }, model);  // exact in all dtypes
  export_model(folder / "a", model, layout);
  for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::f16, Dtype::bf16}) {
    std::vector<std::string> bytes;
    const auto path = changed_file(folder, folder / "a", [&](Metadata&, Views& tensors) {
      bytes.reserve(tensors.size());
      for (auto& [name, tensor] : tensors) {
        std::string& data = bytes.emplace_back();
        for (std::uint64_t i = 0; i < tensor.size(); ++i) {
          const double number = tensor.number(i);
          const auto single = static_cast<float>(number);
          const auto bits = std::bit_cast<std::uint32_t>(single);
          const auto half = static_cast<std::uint16_t>(
              number == 0 ? 0 : (bits >> 16 & 0x8000) | (((bits >> 23 & 255) - 112) << 10) | (bits >> 13 & 1023));
          const auto brain = static_cast<std::uint16_t>(bits >> 16);
          const void* from = dtype == Dtype::f64   ? static_cast<const void*>(&number)
                             : dtype == Dtype::f32 ? static_cast<const void*>(&single)
                             : dtype == Dtype::f16 ? static_cast<const void*>(&half)
                                                   : &brain;
          data.append(static_cast<const char*>(from), static_cast<std::size_t>(dtype_info(dtype).bits / 8));
        }
        tensor.bytes = data;
        tensor.dtype = dtype;
      }
    });
    INFO(dtype_info(dtype).name);
    CHECK(same(import_model<double>(TensorFile::read(path), window_of(layout, model.config())).model, model));
  }
}

TEST_CASE("import: the window") {
  const ScratchFolder folder;
  const auto message = [](const std::string& name, Index window) {
    return message_of<std::invalid_argument>([&] { import_model<float>(golden(name, "weights"), window); });
  };
  CHECK_THAT(
      message("lucidrains", 0),
      ContainsSubstring("lucidrains.weights.safetensors: a lucidrains file does not tell its memory length: give it as "
                        "window (mem_len in Python)"));
  CHECK_THAT(message("labml_kv", 8),
             ContainsSubstring("expected window 4096, as the file's position tables have it, found 8"));
  CHECK_THAT(message("official_shared", 5), ContainsSubstring("expected window 8, as the file's position tables have it"));
  CHECK(import_model<float>(golden("official_shared", "weights"), 8).model.config().window == 8);
  CHECK(import_model<float>(golden("lucidrains", "weights"), 1000).model.config().window == 1000);

  const Model model = model_of(small_config());
  save_model(folder / "a", model, {{"note", "x"}});
  const auto imported = import_model<double>(TensorFile::read(folder / "a"), 3);
  CHECK(imported.layout == Layout::fbt);
  CHECK(imported.metadata.at("note") == "x");
  CHECK(same(imported.model, model));
  CHECK_THAT(message_of<std::invalid_argument>([&] { import_model<double>(TensorFile::read(folder / "a"), 4); }),
             ContainsSubstring("expected window 3, as the file's config has it, found 4"));
}

TEST_CASE("import: lucidrains with seq_len > 1") {
  const ScratchFolder folder;
  const Config config = config_of(Layout::lucidrains, 3, 1);
  const Model model = model_of(config);
  export_model(folder / "a", model, Layout::lucidrains, {".0.fn"});
  const TensorFile file = TensorFile::read(folder / "a");
  CHECK(file.find("layers.2.0.fn.fn.to_q.weight"));
  CHECK(file.find("layers.2.0.fn.norm.bias"));
  CHECK(file.metadata().at("layers.2.0.fn.fn.to_kv.weight") == "layers.0.0.fn.fn.to_kv.weight");
  const auto imported = import_model<double>(file, config.window);
  CHECK(same(imported.model, model));
  REQUIRE(imported.warnings.size() == 1);
  CHECK_THAT(imported.warnings[0], ContainsSubstring("seq_len > 1") && ContainsSubstring("are not reproduced"));
  export_model(folder / "b", imported.model, imported.layout, imported.details);
  CHECK(read_all(folder / "a") == read_all(folder / "b"));
}

TEST_CASE("import: an embedding that is tied to the head") {
  const ScratchFolder folder;
  Model model = model_of(config_of(Layout::labml, 2, 4));
  model.input.embedding.weight = model.head.linear.weight;
  export_model(folder / "a", model, Layout::labml);
  const auto path = changed_file(folder, folder / "a", [](Metadata& metadata, Views& tensors) {
    tensors.erase("src_embed.weight");
    metadata["src_embed.weight"] = "generator.weight";
  });
  const auto imported = import_model<double>(TensorFile::read(path));
  CHECK(same(imported.model, model));
  REQUIRE(imported.warnings.size() == 1);
  CHECK_THAT(imported.warnings[0],
             ContainsSubstring("src_embed.weight and generator.weight are one tensor in the file and two here"));
}

TEST_CASE("import: files of no known layout") {
  const ScratchFolder folder;
  TensorWriter writer;
  writer.write(folder / "empty");
  CHECK_THAT(message_of_import(folder / "empty"),
             ContainsSubstring("empty: expected a model of fbt") &&
                 ContainsSubstring("or of lucidrains (token_emb.weight), found no tensors;"));
  const auto wrapped =
      changed_file(folder, golden("official_shared", "weights").name(), [](Metadata& metadata, Views& tensors) {
        Views others;
        for (const auto& [name, tensor] : tensors) others["module." + name] = tensor;
        tensors = others;
        metadata.clear();
      });
  CHECK_THAT(message_of_import(wrapped),
             ContainsSubstring("found tensors such as module.in_emb.weight; if every name has a "
                               "prefix that none of these has (module. of a wrapped model, say)"));
}

TEST_CASE("export: models that have no place in a layout") {
  const ScratchFolder folder;
  const auto message = [&](Layout layout, auto&& change) {
    Config config = config_of(layout, 2, 8);
    change(config);
    const Model model = model_of(config);
    return message_of<std::invalid_argument>([&] { export_model(folder / "a", model, layout); });
  };
  const auto official = [&](auto&& change) { return message(Layout::official, change); };
  for (const Layout layout : {Layout::official, Layout::labml, Layout::lucidrains})
    CHECK_THAT(message(layout, [](Config& c) { c.outputs = c.vocabulary + 1; }),
               ContainsSubstring("holds models whose outputs are their vocabulary"));
  for (const Layout layout : {Layout::official, Layout::labml, Layout::lucidrains})
    CHECK(message(layout, [](Config& c) { c.cross_attention = true; }) ==
          fmt::format("export: a file of {} holds models with cross_attention false, found true", name_of(layout)));
  CHECK(official([](Config& c) { c.activation = Activation::gelu; }) ==
        "export: a file of official holds models with activation relu, found gelu");
  CHECK(official([](Config& c) { c.position = PositionTerm::none; }) ==
        "export: a file of official holds models with position relative_key, found none");
  CHECK(official([](Config& c) { c.memory_rule = MemoryRule::average; }) ==
        "export: a file of official holds models with memory_rule feedback, found average");
  CHECK(official([](Config& c) { c.memory_norm = MemoryNorm::own; }) ==
        "export: a file of official holds models with memory_norm block, found own");
  CHECK(message(Layout::labml, [](Config& c) { c.memory_norm = MemoryNorm::soft; }) ==
        "export: a file of labml holds models with memory_norm none, found soft");
  CHECK(official([](Config& c) { c.empty_memory = EmptyMemory::skip; }) ==
        "export: a file of official holds models with empty_memory zero_slots, found skip");
  CHECK(official([](Config& c) { c.output_bias = true; }) ==
        "export: a file of official holds models with output_bias false, found true");
  CHECK(official([](Config& c) { c.value_bias = true; }) ==
        "export: a file of official holds models with value_bias false, found true");
  CHECK(official([](Config& c) { c.log_probabilities = false; }) ==
        "export: a file of official holds models with log_probabilities true, found false");
  CHECK(official([](Config& c) { c.norm_epsilon = 1e-3; }) ==
        "export: a file of official holds models with norm_epsilon 1e-05, found 0.001");
  CHECK(message(Layout::labml, [](Config& c) { c.pre_norm = false; }) ==
        "export: a file of labml holds models with pre_norm true, found false");
  CHECK(message(Layout::lucidrains, [](Config& c) { c.share_key_value = false; }) ==
        "export: a file of lucidrains holds models with share_key_value true, found false");
  CHECK(folder.files() == 0);
  export_model(folder / "a", model_of(small_config()), Layout::fbt);
  CHECK(load_model<Model>(folder / "a").model.config() == small_config());
}

TEST_CASE("set_layout: a config for models that can be exported") {
  const Layout layout = any_layout();
  CAPTURE(name_of(layout));
  Config config;
  config.vocabulary = 5;
  config.width = 6;
  config.heads = 2;
  config.layers = 2;
  config.window = 9;
  config.feed_forward = 11;
  config.head_size = 5;
  config.span_ramp = 4;
  config.memory_rule = MemoryRule::top_only;
  config.activation = Activation::gelu;
  config.value_bias = layout == Layout::labml;
  set_layout(config, layout);
  config.validate();
  check_layout(config, layout);
  CHECK(config.window == (layout == Layout::labml ? 4096 : 9));
  CHECK(config.head_columns() == (layout == Layout::labml ? 3 : 5));
  CHECK(config.hidden_units() == (layout == Layout::lucidrains ? 24 : 11));
  const Model model = model_of(config);
  const ScratchFolder folder;
  export_model(folder / "a", model, layout);
  const auto imported = import_model<double>(folder / "a", window_of(layout, config));
  CHECK(imported.layout == layout);
  CHECK(logits_of(imported.model) == logits_of(model));
  Config own = config;
  set_layout(own, Layout::fbt);
  CHECK(own == config);
}
