// Session files, as safetensors files: what a session has read and what it remembers, so that it goes on as if it had never
// been put away. A file names the model that it belongs to.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/core/types.hpp"
#include "fbt/generation/session.hpp"
#include "fbt/io/fingerprint.hpp"
#include "fbt/io/memory_tensors.hpp"
#include "fbt/io/safetensors.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace fbt {

/// Writes a session; extra goes into the file's __metadata__ as for save_model(), where "model" is a name of the model for
/// messages. Throws std::invalid_argument when nothing has been read, or the session cannot go on, and else as save_model().
template <class Model>
void save_session(const std::filesystem::path& path, const Session<Model>& session, const Metadata& extra = {}) {
  check(!session.text().empty(), "{}: a session that has read nothing has nothing to keep", path.string());
  check(session.can_go_on(), "{}: a session whose write() ended with an exception cannot be kept", path.string());
  TensorWriter writer;
  writer.metadata = detail::without_own(extra);
  writer.metadata["fbt.session.model"] = model_fingerprint(session.model());
  writer.add("text", session.text());
  writer.add("logits", session.logits());
  add_memory(writer, "memory.", session.memory());
  writer.write(path);
}

template <class Model>
struct LoadedSession {
  Session<Model> session;
  Metadata metadata;
};

/// The session in a file that save_session() wrote, of the same model, which has to outlive it. Throws std::runtime_error
/// when the file is damaged, or belongs to another model.
template <class Model>
LoadedSession<Model> load_session(const TensorFile& file, const Model& model, const Execution& execution = {}) {
  using Scalar = typename Model::Scalar;
  const auto found = file.metadata().find("fbt.session.model");
  ensure(found != file.metadata().end(),
         "{}: expected a session written by fbt, found no fbt.session.model in its __metadata__", file.name());
  const auto name = file.metadata().find("model");
  const std::string expected = model_fingerprint(model);
  ensure(found->second == expected, "{}: the session belongs to another model{}: expected one of {}, found one of {}",
         file.name(), name == file.metadata().end() ? "" : fmt::format(" ({})", name->second), expected, found->second);

  const TensorView& tokens = file.get("text");
  const Index vocabulary = model.config().vocabulary;
  ensure(tokens.dtype == Dtype::i32 && tokens.shape.size() == 1 && tokens.size() > 0,
         "{}: text: expected at least 1 token of dtype I32, found shape {} of {}", file.name(), shape_text(tokens.shape),
         dtype_info(tokens.dtype).name);
  std::vector<Token> text;
  for (std::uint64_t i = 0; i < tokens.size(); ++i) {
    text.push_back(tokens.at<Token>(i));
    ensure(text.back() >= 0 && text.back() < vocabulary, "{}: text: expected tokens from 0 to {}, found {}", file.name(),
           vocabulary - 1, text.back());
  }
  const TensorView& stored = file.get("logits");
  ensure(stored.dtype == dtype_of<Scalar>() &&
             stored.shape == std::vector<std::uint64_t>{static_cast<std::uint64_t>(model.head.outputs())},
         "{}: logits: expected shape ({}) of dtype {}, found {} of {}", file.name(), model.head.outputs(),
         dtype_info(dtype_of<Scalar>()).name, shape_text(stored.shape), dtype_info(stored.dtype).name);
  Vector<Scalar> logits(model.head.outputs());
  for (Index i = 0; i < logits.size(); ++i) logits(i) = stored.at<Scalar>(static_cast<std::uint64_t>(i));
  return {Session<Model>(model, std::move(text), read_memory(file, "memory.", model, 1), logits, execution),
          file.metadata()};
}
template <class Model>
LoadedSession<Model> load_session(const std::filesystem::path& path, const Model& model, const Execution& execution = {}) {
  return load_session(TensorFile::read(path), model, execution);
}

}  // namespace fbt
