// Writes the inputs that fuzzing starts from into a folder of every reader: safetensors, checkpoint, training, session,
// vocabulary, config.
#include "fbt/io/pytorch/import.hpp"
#include "fbt/io/session_file.hpp"

#include "training.hpp"

#include <fstream>
#include <string_view>

namespace {

using fbt::Config;
namespace fs = std::filesystem;

Config tiny_config() {
  Config c = fuzz::Training::config();
  c.layers = 2;
  c.memory_norm = fbt::MemoryNorm::none;
  return c;
}

void write_tensors(const fs::path& folder) {
  const auto write = [&](const char* name, const fbt::TensorWriter& writer) { writer.write(folder / name); };
  const std::string bytes = "\x01\x7c\x80\xff\x01\x80\x3f\x01\xc0\x7f\x05\x06\x07\x08\x09\x0a";
  fbt::TensorWriter all;
  for (const fbt::DtypeInfo& info : fbt::dtypes)
    all.add(std::string(info.name), info.dtype, {1, 2}, bytes.substr(0, *fbt::tensor_bytes(info.dtype, {1, 2})));
  write("dtypes", all);
  fbt::TensorWriter shapes;
  shapes.metadata = {{"format", "pt"}, {"\xc3\xa4", "\xe2\x82\xac\n"}};
  shapes.add("scalar", fbt::Dtype::f32, {}, bytes.substr(0, 4));
  shapes.add("empty", fbt::Dtype::f64, {0, 5}, "");
  shapes.add("cube", fbt::Dtype::u8, {2, 2, 2}, bytes.substr(0, 8));
  write("shapes", shapes);
  write("nothing", {});
}

void write_models(const fs::path& folder) {
  const auto write = [&](const std::string& name, const Config& config, fbt::Layout layout,
                         fbt::LayoutDetails details = {}) {
    fbt::export_model(folder / name, fuzz::tiny_model(config), layout, details);
  };
  const Config plain = tiny_config();
  fbt::save_model(folder / "fbt", fuzz::tiny_model(fuzz::Training::config()),
                  {{"vocabulary.kind", "character"}, {"vocabulary", "abc"}});
  Config c = plain;
  c.activation = fbt::Activation::geglu;
  c.position = fbt::PositionTerm::buckets;
  c.empty_memory = fbt::EmptyMemory::zero_slots;
  c.pre_norm = c.share_key_value = c.output_bias = false;
  c.value_bias = c.log_probabilities = true;
  c.memory_norm = fbt::MemoryNorm::own;
  fbt::save_model(folder / "fbt_probe", fuzz::tiny_model(c), {}, fbt::Probe::store);

  Config official = plain;
  official.empty_memory = fbt::EmptyMemory::zero_slots;
  official.memory_norm = fbt::MemoryNorm::block;
  official.output_bias = false;
  official.log_probabilities = true;
  write("official", official, fbt::Layout::official);
  official.share_key_value = false;
  write("official_per_layer", official, fbt::Layout::official);
  official.pre_norm = false;
  official.memory_norm = fbt::MemoryNorm::none;
  official.share_key_value = true;
  write("official_post_norm", official, fbt::Layout::official);

  Config labml = plain;
  labml.position = fbt::PositionTerm::per_head;
  labml.value_bias = true;
  write("labml", labml, fbt::Layout::labml);
  labml.share_key_value = labml.value_bias = false;
  write("labml_per_layer", labml, fbt::Layout::labml);

  Config lucidrains = plain;
  lucidrains.activation = fbt::Activation::geglu;
  lucidrains.position = fbt::PositionTerm::none;
  write("lucidrains", lucidrains, fbt::Layout::lucidrains);
  write("lucidrains_segments", lucidrains, fbt::Layout::lucidrains, {".0.fn"});
}

void write_trainings(const fs::path& folder) {
  fuzz::Training training;
  fbt::save_training(folder / "start", training.trainer);
  for (int n = 0; n < 5; ++n) training.update(0.1 * n);
  fbt::save_training(folder / "later", training.trainer, {{"note", "x"}});
}

void write_sessions(const fs::path& folder) {
  const fuzz::Model model = fuzz::exact_model();
  fbt::Session<fuzz::Model> session(model);
  session.read(std::vector<fbt::Token>{1});
  fbt::save_session(folder / "short", session);
  session.read(std::vector<fbt::Token>{0, 2, 1, 1, 0});
  fbt::save_session(folder / "long", session, {{"model", "x"}});
}

void write_text(const fs::path& path, std::string_view content) { std::ofstream(path, std::ios::binary) << content; }

void write_vocabularies(const fs::path& folder) {
  using namespace std::string_view_literals;
  const auto write = [&](const char* name, std::string_view content) { write_text(folder / name, content); };
  write("character", "character\0\n abc\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82\0abc \xc3\xa4\xf0\x9f\x99\x82\xe2\x82\xac\n"sv);
  write("byte", "byte\0\0abc \xc3\xa4\xf0\x9f\x99\x82\xff\xed\xa0\x80"sv);
  write("unknown", "character\0ab\0abcdefghijklm\xc3\xa4\x01"sv);
  write("none", "character\0\0"sv);
  write("subword", "subword\0th\n th\n the\nhe\n\xc3\xa4\n  \0 the  the\n\xc3\xa4th\xe2\x82\xac\xe2\x82\r\n"sv);
}

void write_configs(const fs::path& folder) {
  write_text(folder / "flags", "width = 12\r\n  memory-rule=feedback  # as a word\nrate = -1.5e-3\n");
  write_text(folder / "texts",
             "data = [\"a #1.txt\", 'b, \"2\".txt', c]\none = [\"x\",]\nt = \"\\t\\\"q\\\" \\u20ac \\\\\"\n");
  write_text(folder / "none", "# a comment\n\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 1;
  const fs::path out = argv[1];
  for (const auto& [name, write] : {std::pair{"safetensors", &write_tensors}, std::pair{"checkpoint", &write_models},
                                    std::pair{"training", &write_trainings}, std::pair{"session", &write_sessions},
                                    std::pair{"vocabulary", &write_vocabularies}, std::pair{"config", &write_configs}}) {
    fs::create_directories(out / name);
    write(out / name);
  }
}
