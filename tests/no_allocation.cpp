// Proves that a warm step allocates nothing, by two detectors: a counting operator new and delete, and Eigen's own no-malloc
// mode. They act on the whole program, so this is a program of its own. With --control an allocation of each kind is made
// where none is allowed, and the program fails because both detectors see it.
#define EIGEN_RUNTIME_NO_MALLOC
#define eigen_assert(condition)                    \
  do {                                             \
    if (!(condition)) eigen_complaint(#condition); \
  } while (false)

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {
bool forbidden = false;
long news = 0, eigen_allocations = 0;
}  // namespace

// Eigen asserts that malloc is allowed; any other assertion that fails is an error of the program.
inline void eigen_complaint(const char* condition) {
  if (std::strstr(condition, "is_malloc_allowed") != nullptr) {
    ++eigen_allocations;
  } else {
    std::fprintf(stderr, "assertion failed: %s\n", condition);
    std::abort();
  }
}

#include "fbt/models/encoder_decoder.hpp"

namespace {

void* counted(std::size_t size, std::size_t alignment) {
  if (forbidden) ++news;
  void* memory = alignment > 0 ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                               : std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void release(void* memory) noexcept {
  if (forbidden && memory != nullptr) ++news;
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return counted(size, 0); }
void* operator new[](std::size_t size) { return counted(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace {

using namespace fbt;

struct Count {
  long news, eigen;
};

// What f allocates.
template <class F>
Count count(F&& f) {
  news = eigen_allocations = 0;
  forbidden = true;
  Eigen::internal::set_is_malloc_allowed(false);
  f();
  Eigen::internal::set_is_malloc_allowed(true);
  forbidden = false;
  return {news, eigen_allocations};
}

bool silent(const char* what, Index lanes, const Count& seen) {
  std::printf("%-40s %2ld lanes: %ld from operator new or delete, %ld from Eigen\n", what, static_cast<long>(lanes),
              seen.news, seen.eigen);
  return seen.news == 0 && seen.eigen == 0;
}

template <class Model, class AnyConfig>
bool check_model(const AnyConfig& config, const char* name, Index lanes) {
  Random random(1);
  const Model model(config, random);
  Segment segment{20, lanes, true, 1};
  std::vector<Token> tokens(static_cast<std::size_t>(segment.columns()));
  for (Token& token : tokens) token = static_cast<Token>(random.below(config.vocabulary));
  const Matrix<float> delta = Matrix<float>::Constant(config.vocabulary, segment.columns(), 0.01f);

  // warm up until the memory has been full and has moved to the front
  auto stepper = model.start(lanes);
  auto memory = model.make_memory(lanes);
  typename Model::Trace trace;
  Model grad = zeros_like(model);
  const auto step = [&] {
    for (Index i = 0; i < 150; ++i) model.step(step_columns(Tokens(tokens), i % segment.steps, lanes), stepper);
  };
  const auto segments = [&] {
    for (int i = 0; i < 10; ++i) {
      model.forward(tokens, segment, memory, trace);
      model.backward(delta, memory, trace, grad);
    }
  };
  step();
  segments();
  std::printf("%s\n", name);
  bool step_is_silent = silent("  150 steps", lanes, count(step));
  for (const auto& [format, weights] : Names<WeightFormat>::list) {
    if (weights == WeightFormat::full) continue;
    stepper = model.start(lanes, {1, weights});
    step();
    step_is_silent =
        silent(("  150 steps with weights of " + std::string(format)).c_str(), lanes, count(step)) && step_is_silent;
  }
  bool segments_are_silent = silent("  10 segments forward and backward", lanes, count(segments));
  if constexpr (std::is_same_v<Model, FeedbackTransformer<float>>) {
    segment.recompute = true;
    segments();
    segments_are_silent = silent("  10 segments with recompute", lanes, count(segments)) && segments_are_silent;
  }
  return step_is_silent && segments_are_silent;
}

/// Writing beside sources of different lengths.
bool check_translator(Index lanes) {
  EncoderDecoderConfig config;
  config.decoder.vocabulary = 65;
  config.decoder.width = 64;
  config.decoder.layers = 2;
  config.decoder.heads = 4;
  config.decoder.window = 64;
  Random random(1);
  const EncoderDecoder<float> model(config, random);
  std::vector<std::vector<Token>> sources;
  for (Index b = 0; b < lanes; ++b) sources.emplace_back(static_cast<std::size_t>(3 + 7 * (b % 5)), static_cast<Token>(b));
  std::vector<Token> tokens(static_cast<std::size_t>(lanes), 7);
  std::puts("encoder and decoder");
  bool step_is_silent = true;
  for (const auto& [format, weights] : Names<WeightFormat>::list) {
    auto stepper = model.start(sources, 1, {1, weights});
    const auto step = [&] {
      for (Index i = 0; i < 150; ++i) model.step(tokens, stepper);
    };
    step();
    step_is_silent =
        silent(("  150 steps with weights of " + std::string(format)).c_str(), lanes, count(step)) && step_is_silent;
  }
  return step_is_silent;
}

// Both detectors must see what they are there to see.
bool control() {
  Matrix<float> matrix;
  int* number = nullptr;
  const Count by_new = count([&] { number = new int(1); });
  const Count by_eigen = count([&] { matrix.resize(100, 100); });
  delete number;
  silent("control: new int", 0, by_new);
  silent("control: a matrix", 0, by_eigen);
  return by_new.news == 1 && by_eigen.eigen > 0;
}

}  // namespace

int main(int arguments, char** argument) {
  if (arguments > 1 && std::strcmp(argument[1], "--control") == 0) return control() ? 1 : 0;

  Config plain;
  plain.vocabulary = 65;
  plain.width = 128;
  plain.layers = 4;
  plain.heads = 4;
  plain.window = 64;
  Config switched = plain;
  switched.activation = Activation::geglu;
  switched.empty_memory = EmptyMemory::zero_slots;
  switched.pre_norm = switched.share_key_value = false;
  switched.memory_norm = MemoryNorm::none;
  switched.position = PositionTerm::per_head;
  switched.value_bias = true;
  switched.dropout = 0.1;

  LstmConfig lstm;
  lstm.vocabulary = 65;
  lstm.attention = true;
  lstm.dropout = 0.1;

  bool silence = true;
  for (const Index lanes : {1, 8, 32}) {
    silence = check_model<FeedbackTransformer<float>>(plain, "default model", lanes) && silence;
    silence =
        check_model<FeedbackTransformer<float>>(switched, "post-norm, GEGLU, key and value per layer, dropout", lanes) &&
        silence;
    silence = check_model<LstmModel<float>>(lstm, "LSTM with attention, dropout", lanes) && silence;
    silence = check_translator(lanes) && silence;
  }
  std::puts(silence ? "a warm step allocates nothing" : "a warm step allocates");
  return silence ? 0 : 1;
}
