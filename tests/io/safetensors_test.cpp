#include "fbt/io/safetensors.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/scratch.hpp"

#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <limits>
#include <numeric>
#include <thread>

using namespace fbt;

namespace {

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
std::string length_bytes(std::uint64_t length) { return bytes_of(std::vector<std::uint64_t>{length}); }
/// A file with the given header and data.
std::string file_of(const std::string& header, const std::string& data = "") {
  return length_bytes(header.size()) + header + data;
}
TensorFile parse(const std::string& content) { return TensorFile::parse(content, "x.file"); }
std::string error_of(const std::string& content) {
  return message_of<std::runtime_error>([&] { parse(content); });
}
std::vector<double> numbers(const TensorView& view) {
  std::vector<double> result;
  for (std::uint64_t i = 0; i < view.size(); ++i) result.push_back(view.number(i));
  return result;
}
std::string quoted(std::string text) {
  std::replace(text.begin(), text.end(), '\'', '"');
  return text;
}

/// A reader of its own, straight from the description of the format: the reader under test may share mistakes with the
/// writer.
struct Described {
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::string bytes;
};
std::map<std::string, Described> read_by_description(const std::string& content, Metadata& metadata) {
  std::size_t length = 0;
  for (int i = 7; i >= 0; --i) length = length * 256 + static_cast<unsigned char>(content.at(static_cast<std::size_t>(i)));
  CHECK((8 + length) % 8 == 0);  // the data is aligned in the file
  const auto header = nlohmann::json::parse(content.substr(8, length));
  const std::string data = content.substr(8 + length);
  std::map<std::string, Described> result;
  std::size_t total = 0;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      metadata = entry.get<Metadata>();
      continue;
    }
    const auto begin = entry.at("data_offsets").at(0).get<std::size_t>(),
               end = entry.at("data_offsets").at(1).get<std::size_t>();
    CHECK(entry.size() == 3);
    CHECK(end <= data.size());
    total += end - begin;
    result[name] = {entry.at("dtype"), entry.at("shape"), data.substr(begin, end - begin)};
  }
  CHECK(total == data.size());
  return result;
}

// One tensor F32 (2, 3), one I64 (1), one empty.
const std::string golden_header = quoted(
    "{'__metadata__':{'by':'fbt','text':'\xc3\xa9'},'n':{'dtype':'I64','shape':[1],'data_offsets':[0,8]},"
    "'weight':{'dtype':'F32','shape':[2,3],'data_offsets':[8,32]},'none':{'dtype':'F32','shape':[0,3],'data_offsets':[32,32]"
    "}}");
const std::string golden_data(
    "\xfb\xff\xff\xff\xff\xff\xff\xff"
    "\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40\x00\x00\xa0\x40\x00\x00\xc0\x40",
    32);
std::string golden_file() {
  std::string header = golden_header;
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return file_of(header, golden_data);
}

}  // namespace

TEST_CASE("safetensors: the writer's bytes are those of the format") {
  const ScratchFolder folder;
  TensorWriter writer;
  writer.metadata = {{"by", "fbt"}, {"text", "é"}};
  Matrix<float> weight(2, 3);  // column-major; the file is row-major
  weight << 1, 2, 3, 4, 5, 6;
  writer.add("weight", weight);
  writer.add("n", std::vector<std::int64_t>{-5});
  writer.add("none", Matrix<float>(0, 3));
  writer.write(folder / "a");
  CHECK(read_all(folder / "a") == golden_file());
  CHECK(folder.files() == 1);
}

TEST_CASE("safetensors: the reader on the bytes of the format") {
  const TensorFile file = parse(golden_file());
  CHECK(file.name() == "x.file");
  CHECK(file.metadata() == Metadata{{"by", "fbt"}, {"text", "é"}});
  REQUIRE(file.tensors().size() == 3);
  CHECK(file.get("weight").dtype == Dtype::f32);
  CHECK(file.get("weight").shape == std::vector<std::uint64_t>{2, 3});
  CHECK(numbers(file.get("weight")) == std::vector<double>{1, 2, 3, 4, 5, 6});
  CHECK(file.get("n").at<std::int64_t>(0) == -5);
  CHECK(file.get("n").shape == std::vector<std::uint64_t>{1});
  CHECK(file.get("none").size() == 0);
  CHECK(file.get("none").shape == std::vector<std::uint64_t>{0, 3});
  CHECK(file.find("other") == nullptr);
  CHECK(message_of<std::runtime_error>([&] { file.get("other"); }) == "x.file: expected a tensor named other, found none");
}

TEST_CASE("safetensors: there and back, of every dtype") {
  const ScratchFolder folder;
  const std::vector<float> f{1.5f, -0.0f, 1e-45f, std::numeric_limits<float>::infinity()};
  const std::vector<double> d{0.1, -1e308, 5e-324};
  const std::vector<std::int32_t> i{-2147483647, 7};
  const std::vector<std::int64_t> l{std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()};
  TensorWriter writer;
  writer.add("u8", Dtype::u8, {3}, std::string("\x00\x7f\xff", 3));
  writer.add("f", f);
  writer.add("d", d);
  writer.add("i", i);
  writer.add("l", l);
  writer.add("f16", Dtype::f16, {2, 1}, std::string("\x00\x3c\x00\xc0", 4));
  writer.add("bf16", Dtype::bf16, {1, 1, 1}, std::string("\x80\x3f", 2));
  writer.add("scalar", Dtype::f64, {}, bytes_of(std::vector<double>{2.5}));
  writer.add("empty", std::vector<float>{});
  Vector<double> vector(2);
  vector << 3, 4;
  writer.add("vector", vector);
  RowMatrix<double> rows(2, 2);
  rows << 1, 2, 3, 4;
  writer.add("rows", rows);
  const Matrix<double> large = Matrix<double>::Random(5, 7);
  writer.add("piece", large.middleCols(2, 3));
  writer.write(folder / "a");

  const std::string content = read_all(folder / "a");
  Metadata metadata;
  const auto described = read_by_description(content, metadata);
  CHECK(metadata.empty());
  CHECK(content.find("__metadata__") == content.npos);
  const TensorFile file = TensorFile::read(folder / "a");
  REQUIRE(file.tensors().size() == 12);
  REQUIRE(described.size() == 12);
  for (const TensorView& tensor : file.tensors()) {
    INFO(tensor.name);
    const Described& other = described.at(tensor.name);
    CHECK(other.dtype == dtype_info(tensor.dtype).name);
    CHECK(other.shape == tensor.shape);
    CHECK(other.bytes == tensor.bytes);
    CHECK(static_cast<std::size_t>(tensor.bytes.data() - file.tensors().front().bytes.data()) %
              (dtype_info(tensor.dtype).bits / 8) ==
          0);
  }
  CHECK(file.get("f").bytes == bytes_of(f));
  CHECK(file.get("d").bytes == bytes_of(d));
  CHECK(file.get("i").bytes == bytes_of(i));
  CHECK(file.get("l").bytes == bytes_of(l));
  CHECK(std::signbit(file.get("f").number(1)));
  CHECK(file.get("f").number(2) == 0x1p-149);
  CHECK(numbers(file.get("d")) == d);
  CHECK(numbers(file.get("i")) == std::vector<double>{-2147483647, 7});
  CHECK(numbers(file.get("l")) == std::vector<double>{-0x1p63, 0x1p63});
  CHECK(numbers(file.get("u8")) == std::vector<double>{0, 127, 255});
  CHECK(numbers(file.get("f16")) == std::vector<double>{1, -2});
  CHECK(numbers(file.get("bf16")) == std::vector<double>{1});
  CHECK(file.get("scalar").shape.empty());
  CHECK(file.get("scalar").size() == 1);
  CHECK(file.get("scalar").number(0) == 2.5);
  CHECK(file.get("empty").shape == std::vector<std::uint64_t>{0});
  CHECK(file.get("vector").shape == std::vector<std::uint64_t>{2});
  CHECK(numbers(file.get("rows")) == std::vector<double>{1, 2, 3, 4});
  CHECK(file.get("piece").shape == std::vector<std::uint64_t>{5, 3});
  CHECK(file.get("piece").number(3 * 2 + 1) == large(2, 3));
}

TEST_CASE("safetensors: BF16 is the upper half of F32") {
  const std::string bytes =
      bytes_of(std::vector<std::uint16_t>{0x3f80, 0xc049, 0x0001, 0x0080, 0x7f80, 0xff80, 0x7fc0, 0x8000});
  const TensorFile file = parse(file_of(quoted("{'a':{'dtype':'BF16','shape':[8],'data_offsets':[0,16]}}"), bytes));
  const TensorView& a = file.get("a");
  CHECK(a.number(0) == 1);
  CHECK(a.number(1) == -3.140625);
  CHECK(a.number(2) == 0x1p-133);  // subnormal
  CHECK(a.number(3) == 0x1p-126);
  CHECK(a.number(4) == std::numeric_limits<double>::infinity());
  CHECK(a.number(5) == -std::numeric_limits<double>::infinity());
  CHECK(std::isnan(a.number(6)));
  CHECK(std::signbit(a.number(7)));
}

TEST_CASE("safetensors: data of any alignment and in any order") {
  for (std::size_t pad = 0; pad < 8; ++pad) {
    const std::string header = quoted(
        "{'b':{'data_offsets':[1,9],'shape':[1],'dtype':'F64'},'c':{'dtype':'F32','data_offsets':[9,13],'shape':[]},"
        "'a':{'dtype':'U8','shape':[1,1],'data_offsets':[0,1]},'e':{'dtype':'I64','shape':[4,0],'data_offsets':[9,9]}}");
    const TensorFile file = parse(file_of(
        header + std::string(pad, ' '), "\x07" + bytes_of(std::vector<double>{0.1}) + bytes_of(std::vector<float>{-0.5f})));
    CHECK(file.get("a").number(0) == 7);
    CHECK(file.get("b").number(0) == 0.1);
    CHECK(file.get("c").number(0) == -0.5);
    CHECK(file.get("e").size() == 0);
    CHECK(file.tensors().front().name == "a");
    CHECK(file.tensors().back().name == "c");
  }
}

TEST_CASE("safetensors: files without tensors") {
  CHECK(parse(file_of("{}")).tensors().empty());
  CHECK(parse(file_of(quoted("{'__metadata__':{}}"))).metadata().empty());
  CHECK(parse(file_of(quoted("{'__metadata__':null}"))).metadata().empty());
  CHECK(parse(file_of(quoted("{'__metadata__':{'':''}}   "))).metadata() == Metadata{{"", ""}});
}

TEST_CASE("safetensors: tensors of every dtype of the format can be in a file") {
  for (const DtypeInfo& info : dtypes) {
    INFO(info.name);
    const std::string bytes(static_cast<std::size_t>(*tensor_bytes(info.dtype, {2, 4})), '\1');
    const std::string header =
        fmt::format("{{'a':{{'dtype':'{}','shape':[2,4],'data_offsets':[0,{}]}}}}", info.name, bytes.size());
    const TensorFile file = parse(file_of(quoted(header), bytes));
    CHECK(file.get("a").dtype == info.dtype);
    CHECK(file.get("a").size() == 8);
    CHECK(file.get("a").bytes == bytes);
  }
}

TEST_CASE("safetensors: names may be anything") {
  const ScratchFolder folder;
  const std::vector<std::string> names{
      "", " ", "a\"b\\c", "\n\t\x01", "\xf0\x9f\x99\x82", "dtype", "shape", std::string("a\0b", 3)};
  TensorWriter writer;
  for (const auto& name : names) {
    writer.metadata[name] = name;
    writer.add(name, std::vector<std::int32_t>{static_cast<std::int32_t>(name.size())});
  }
  writer.write(folder / "a");
  const TensorFile file = TensorFile::read(folder / "a");
  CHECK(file.tensors().size() == names.size());
  for (const auto& name : names) {
    CHECK(file.get(name).number(0) == static_cast<double>(name.size()));
    CHECK(file.metadata().at(name) == name);
  }
}

TEST_CASE("safetensors: hostile files") {
  struct Hostile {
    std::string content, message;
  };
  const std::string four(4, '\0');
  const auto f32 = [](const std::string& field, const std::string& value) {
    std::map<std::string, std::string> fields{{"dtype", "'F32'"}, {"shape", "[1]"}, {"data_offsets", "[0,4]"}};
    fields[field] = value;
    return quoted("{'a':{'dtype':" + fields["dtype"] + ",'shape':" + fields["shape"] +
                  ",'data_offsets':" + fields["data_offsets"] + "}}");
  };
  const auto deep = [](const std::string& piece) {
    std::string text;
    for (int i = 0; i < 200000; ++i) text += piece;
    return text;
  };
  std::string same_offset = "{";
  for (int i = 0; i < 10000; ++i) {
    const std::string separator = i ? "," : "";
    same_offset += separator + "'t" + std::to_string(i) + "':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}";
  }
  const std::string wide_offsets = "{'a':{'dtype':'F32','shape':[1],'data_offsets':[" + [] {
    std::string text = "0";
    for (int i = 0; i < 100000; ++i) text += ",1";
    return text;
  }() + "]}}";

  const std::vector<Hostile> files{
      // lengths
      {"", "expected a safetensors file, found only 0 bytes"},
      {"1234567", "expected a safetensors file, found only 7 bytes"},
      {length_bytes(std::uint64_t(1) << 63) + "{}", "at most 100000000 bytes, found a length of 9223372036854775808"},
      {length_bytes(~std::uint64_t(0)) + "{}", "at most 100000000 bytes, found a length of 18446744073709551615"},
      {length_bytes(100'000'001) + "{}", "at most 100000000 bytes, found a length of 100000001"},
      {length_bytes(100'000'000) + "{}", "expected a header of 100000000 bytes, found only 2 bytes after its length"},
      {length_bytes(3) + "{}", "expected a header of 3 bytes, found only 2 bytes after its length"},
      {length_bytes(0), "a safetensors header that starts with {"},
      {length_bytes(0) + "{}", "a safetensors header that starts with {"},
      // not a JSON object
      {file_of("[]"), "starts with {"},
      {file_of(" {}"), "starts with {"},
      {file_of("\xef\xbb\xbf{}"), "starts with {"},
      {file_of("{"), "expected a JSON object in UTF-8 as header, found an error at its byte"},
      {file_of("{}{}"), "expected a JSON object in UTF-8"},
      {file_of("{} x"), "expected a JSON object in UTF-8"},
      {file_of("{'a'}"), "expected a JSON object in UTF-8"},
      {file_of(quoted("{'a':}")), "expected a JSON object in UTF-8"},
      {file_of("{}" + four), "expected a JSON object in UTF-8 as header, found a zero byte"},
      {file_of(f32("shape", "[1]") + std::string("\0 and more", 10), four), "found a zero byte"},
      {file_of(quoted("{'__metadata__':{'a':'\xff'}}")), "expected a JSON object in UTF-8"},
      {file_of(quoted("{'\xc3':{}}")), "expected a JSON object in UTF-8"},
      {file_of(quoted("{'__metadata__':{'\xed\xa0\x80':'a'}}")), "expected a JSON object in UTF-8"},
      {file_of(quoted("{'__metadata__':{'a':'\\ud800'}}")), "expected a JSON object in UTF-8"},
      {file_of(deep("{")), "expected a JSON object in UTF-8"},
      {file_of(quoted(deep("{'a':"))), "tensor a: expected"},
      {file_of(quoted("{'a':" + deep("["))), "the header: expected an object for every name, found an array"},
      {file_of(quoted("{'a':{'shape':" + deep("["))), "whole numbers of at least 0 in shape, found an array"},
      {file_of(quoted("{'__metadata__':{'a':" + deep("["))), "__metadata__: expected strings as values, found an array"},
      // wrong types
      {file_of(quoted("{'a':1}")), "the header: expected an object for every name, found a number"},
      {file_of(quoted("{'a':null}")), "the header: expected an object for every name, found null"},
      {file_of(quoted("{'a':'b'}")), "the header: expected an object for every name, found a string"},
      {file_of(quoted("{'a':true}")), "the header: expected an object for every name, found true or false"},
      {file_of(quoted("{'a':-1.5}")), "the header: expected an object for every name, found -1.5"},
      {file_of(quoted("{'__metadata__':'a'}")), "the header: expected an object for every name, found a string"},
      {file_of(quoted("{'__metadata__':[]}")), "the header: expected an object for every name, found an array"},
      {file_of(quoted("{'__metadata__':{'a':1}}")), "__metadata__: expected strings as values, found a number"},
      {file_of(quoted("{'__metadata__':{'a':-1}}")), "__metadata__: expected strings as values, found a negative number"},
      {file_of(quoted("{'__metadata__':{'a':1.5}}")), "__metadata__: expected strings as values, found 1.5"},
      {file_of(quoted("{'__metadata__':{'a':null}}")), "__metadata__: expected strings as values, found null"},
      {file_of(quoted("{'__metadata__':{'a':false}}")), "__metadata__: expected strings as values, found true or false"},
      {file_of(quoted("{'__metadata__':{'a':{}}}")), "__metadata__: expected strings as values, found an object"},
      {file_of(f32("dtype", "1"), four), "tensor a: expected a string as dtype, found a number"},
      {file_of(f32("dtype", "['F32']"), four), "tensor a: expected a string as dtype, found an array"},
      {file_of(f32("dtype", "{}"), four), "tensor a: expected a string as dtype, found an object"},
      {file_of(f32("dtype", "null"), four), "tensor a: expected a string as dtype, found null"},
      {file_of(f32("shape", "1"), four), "tensor a: expected an array as shape, found a number"},
      {file_of(f32("shape", "'1'"), four), "tensor a: expected an array as shape, found a string"},
      {file_of(f32("shape", "{}"), four), "tensor a: expected an array as shape, found an object"},
      {file_of(f32("shape", "['1']"), four), "whole numbers of at least 0 in shape, found a string"},
      {file_of(f32("shape", "[true]"), four), "whole numbers of at least 0 in shape, found true or false"},
      {file_of(f32("shape", "[null]"), four), "whole numbers of at least 0 in shape, found null"},
      {file_of(f32("shape", "[[1]]"), four), "whole numbers of at least 0 in shape, found an array"},
      {file_of(f32("shape", "[{}]"), four), "whole numbers of at least 0 in shape, found an object"},
      {file_of(f32("shape", "[-1]"), four), "whole numbers of at least 0 in shape, found a negative number"},
      {file_of(f32("shape", "[1.0]"), four), "whole numbers of at least 0 in shape, found 1.0"},
      {file_of(f32("shape", "[1e0]"), four), "whole numbers of at least 0 in shape, found 1e0"},
      {file_of(f32("shape", "[18446744073709551616]"), four), "in shape, found 18446744073709551616"},
      {file_of(f32("shape", "[1e999]"), four), "x.file: "},
      {file_of(f32("data_offsets", "[0,-4]"), four), "whole numbers of at least 0 in data_offsets, found a negative number"},
      {file_of(f32("data_offsets", "[0,4.0]"), four), "whole numbers of at least 0 in data_offsets, found 4.0"},
      {file_of(f32("data_offsets", "'0,4'"), four), "tensor a: expected an array as data_offsets, found a string"},
      // fields
      {file_of(quoted("{'a':{}}")), "tensor a: expected dtype, shape and data_offsets, found not all of them"},
      {file_of(quoted("{'a':{'dtype':'F32','shape':[1]}}"), four), "found not all of them"},
      {file_of(quoted("{'a':{'dtype':'F32','data_offsets':[0,4]}}"), four), "found not all of them"},
      {file_of(quoted("{'a':{'shape':[1],'data_offsets':[0,4]}}"), four), "found not all of them"},
      {file_of(quoted("{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4],'x':1}}"), four),
       "tensor a: expected dtype, shape and data_offsets, found \"x\""},
      {file_of(quoted("{'a':{'dtype':'F32','dtype':'F32','shape':[1],'data_offsets':[0,4]}}"), four),
       "tensor a: expected every field once, found dtype twice"},
      {file_of(quoted("{'a':{'dtype':'F32','shape':[1],'shape':[1],'data_offsets':[0,4]}}"), four), "found shape twice"},
      {file_of(quoted("{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4],'data_offsets':[0,4]}}"), four),
       "found data_offsets twice"},
      {file_of(f32("data_offsets", "[]"), four), "tensor a: expected 2 data_offsets, found 0"},
      {file_of(f32("data_offsets", "[0]"), four), "tensor a: expected 2 data_offsets, found 1"},
      {file_of(f32("data_offsets", "[0,4,4]"), four), "tensor a: expected 2 data_offsets, found 3"},
      {file_of(quoted(wide_offsets), four), "tensor a: expected 2 data_offsets, found 100001"},
      // names
      {file_of(quoted("{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'a':{'dtype':'F32','shape':[1],'data_offsets':["
                      "4,8]}}"),
               four + four),
       "the header: expected every name once, found tensor a twice"},
      {file_of(quoted("{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'\\u0061':{'dtype':'F32','shape':[1],'data_"
                      "offsets':[4,8]}}"),
               four + four),
       "the header: expected every name once, found tensor a twice"},
      {file_of(quoted("{'__metadata__':{},'__metadata__':{}}")), "the header: expected one __metadata__, found two"},
      {file_of(quoted("{'__metadata__':null,'__metadata__':null}")), "the header: expected one __metadata__, found two"},
      {file_of(quoted("{'a':null}")), "the header: expected an object for every name, found null"},
      {file_of(quoted("{'__metadata__':{'a':null}}")), "__metadata__: expected strings as values, found null"},
      {file_of(quoted("{'__metadata__':{'a':'b','a':'b'}}")), "__metadata__: expected every key once, found a twice"},
      // dtypes
      {file_of(f32("dtype", "'F128'"), four), "tensor a: expected a dtype of the safetensors format, found \"F128\""},
      {file_of(f32("dtype", "'BOOL'"), four), "tensor a: expected 1 bytes for BOOL of shape (1), found 4"},
      {file_of(f32("dtype", "'f32'"), four), "found \"f32\""},
      {file_of(f32("dtype", "''"), four), "found \"\""},
      // offsets and shapes
      {file_of(f32("data_offsets", "[0,5]"), four),
       "tensor a: expected data_offsets inside the 4 bytes of data, found (0, 5)"},
      {file_of(f32("data_offsets", "[4,0]"), four),
       "tensor a: expected data_offsets inside the 4 bytes of data, found (4, 0)"},
      {file_of(f32("data_offsets", "[0,18446744073709551615]"), four),
       "inside the 4 bytes of data, found (0, 18446744073709551615)"},
      {file_of(f32("data_offsets", "[18446744073709551612,0]"), four), "inside the 4 bytes of data"},
      {file_of(f32("data_offsets", "[4,8]"), four + four),
       "tensor a: expected its data to begin at 0, where the one before ends, found 4"},
      {file_of(f32("shape", "[2]"), four), "tensor a: expected 8 bytes for F32 of shape (2), found 4"},
      {file_of(f32("shape", "[0]"), four), "tensor a: expected 0 bytes for F32 of shape (0), found 4"},
      {file_of(f32("shape", "[1,1,2]"), four), "tensor a: expected 8 bytes for F32 of shape (1, 1, 2), found 4"},
      {file_of(f32("shape", "[4611686018427387905]"), four), "tensor a: the shape (4611686018427387905) is too large"},
      {file_of(f32("shape", "[4294967296,4294967296]"), four), "is too large"},
      {file_of(f32("shape", "[2147483648,2147483648,4,1]"), four), "is too large"},
      {file_of(f32("shape", "[1]"), four + "x"), "expected 4 bytes of data, found 5"},
      {file_of("{}", "x"), "expected 0 bytes of data, found 1"},
      {file_of(quoted("{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'b':{'dtype':'F32','shape':[2],'data_offsets':["
                      "4,12]}}"),
               std::string(12, 'x')),
       "tensor b: expected its data to begin at 8, where the one before ends, found 4"},
      {file_of(quoted("{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'b':{'dtype':'F32','shape':[1],'data_offsets':["
                      "0,4]}}"),
               four),
       "tensor b: expected its data to begin at 4, where the one before ends, found 0"},
      {file_of(quoted("{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'b':{'dtype':'F32','shape':[1],'data_offsets':["
                      "5,9]}}"),
               std::string(9, 'x')),
       "tensor b: expected its data to begin at 4, where the one before ends, found 5"},
      {file_of(quoted("{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'b':{'dtype':'F32','shape':[0],'data_offsets':["
                      "2,2]}}"),
               four),
       "tensor b: expected its data to begin at 4, where the one before ends, found 2"},
      {file_of(quoted(same_offset + "}"), four),
       "tensor t1: expected its data to begin at 4, where the one before ends, found 0"},
  };
  const auto start = std::chrono::steady_clock::now();
  for (const Hostile& hostile : files) {
    INFO(hostile.content.substr(0, 200));
    const std::string message = error_of(hostile.content);
    CHECK_THAT(message, ContainsSubstring(hostile.message));
    CHECK(message.starts_with("x.file: "));
    CHECK(message.size() < 500);
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

TEST_CASE("safetensors: cut off at any byte, or one byte too long") {
  const std::string whole = golden_file();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO(size);
    REQUIRE_THAT(error_of(whole.substr(0, size)), ContainsSubstring("expected "));
  }
  CHECK_THAT(error_of(whole + '\0'), ContainsSubstring("expected 32 bytes of data, found 33"));
}

TEST_CASE("safetensors: any byte changed is read or refused") {
  const std::string whole = golden_file();
  const std::string others = std::string("{}[]\",:0 9-.e\\u\xff\xc3", 18) + '\0';
  int read = 0, refused = 0;
  const auto attempt = [&](std::size_t at, char byte) {
    std::string content = whole;
    content[at] = byte;
    try {
      const TensorFile file = parse(content);
      for (const TensorView& tensor : file.tensors()) numbers(tensor);
      ++read;
    } catch (const std::runtime_error&) {
      ++refused;
    }
  };
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const char byte : others) attempt(i, byte);
    for (int bit = 0; bit < 8; ++bit) attempt(i, static_cast<char>(static_cast<unsigned char>(whole[i]) ^ (1u << bit)));
  }
  CHECK(read > 27 * 32);      // the data may be anything
  CHECK(refused > 27 * 128);  // most of the header may not
}

TEST_CASE("safetensors: files that cannot be read") {
  const ScratchFolder folder;
  CHECK(message_of<std::runtime_error>([&] { TensorFile::read(folder / "none"); }) ==
        (folder / "none").string() + ": cannot open the file: No such file or directory");
  CHECK_THAT(message_of<std::runtime_error>([&] { TensorFile::read(folder.path); }),
             ContainsSubstring(folder.path.string() + ": expected a file, found a folder"));
  write_all(folder / "empty", "");
  CHECK_THAT(message_of<std::runtime_error>([&] { TensorFile::read(folder / "empty"); }),
             ContainsSubstring("found only 0 bytes"));
  CHECK_THAT(message_of<std::runtime_error>([&] { TensorFile::read("/dev/zero"); }),
             ContainsSubstring("/dev/zero: expected a file, found something else"));
}

TEST_CASE("safetensors: a file that another takes the place of while it is read is read as it was") {
  const ScratchFolder folder;
  TensorWriter small, large;
  small.metadata["is"] = "small";
  large.metadata["is"] = std::string(5000, 'x');
  small.write(folder / "file");
  std::atomic<bool> done = false;
  std::string failure;
  std::thread writer([&] {
    try {
      for (int i = 0; i < 100; ++i) (i % 2 == 0 ? large : small).write(folder / "file");
    } catch (const std::exception& error) {
      failure = error.what();
    }
    done = true;
  });
  int whole = 0, reads = 0;
  while (!done) {
    ++reads;
    const std::string message = message_of<std::runtime_error>([&] {
      const std::string is = TensorFile::read(folder / "file").metadata().at("is");
      whole += is == "small" || is == std::string(5000, 'x');
    });
    if (message != "[nothing was thrown]") UNSCOPED_INFO(message);
  }
  writer.join();
  CHECK(failure.empty());
  CHECK(reads > 0);
  CHECK(whole == reads);
}

TEST_CASE("safetensors: what cannot be written") {
  const ScratchFolder folder;
  const auto message = [&](TensorWriter& writer) {
    return message_of<std::invalid_argument>([&] { writer.write(folder / "a"); });
  };
  TensorWriter twice;
  twice.add("a", std::vector<float>{1});
  twice.add("a", std::vector<double>{1});
  CHECK_THAT(message(twice), ContainsSubstring("a: expected every name once, found tensor a twice"));
  TensorWriter reserved;
  reserved.add("__metadata__", std::vector<float>{1});
  CHECK_THAT(message(reserved), ContainsSubstring("found tensor __metadata__ twice"));
  TensorWriter bytes;
  bytes.metadata["a"] = "\xff";
  CHECK_THAT(message(bytes), ContainsSubstring("a: expected names and metadata in UTF-8, found other bytes"));
  TensorWriter name;
  name.add("\xff", std::vector<float>{1});
  CHECK_THAT(message(name), ContainsSubstring("expected names and metadata in UTF-8"));
  TensorWriter sizes;
  CHECK(message_of<std::invalid_argument>([&] {
          sizes.add("a", Dtype::f16, {2, 2}, "1234567");
        }) == "tensor a: expected 8 bytes for F16 of shape (2, 2), found 7");
  CHECK(message_of<std::invalid_argument>([&] {
          sizes.add("a", Dtype::f16, {1u << 31, 1u << 31, 4}, "");
        }) == "tensor a: the shape (2147483648, 2147483648, 4) is too large");
  CHECK(folder.files() == 0);
}
