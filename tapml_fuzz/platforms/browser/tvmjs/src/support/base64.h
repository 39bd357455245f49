// src/runtime/tensor.cc names these for tensors inside JSON. The Python wheel of TVM does not ship them and no
// operator uses them; one that does is ended, not answered wrongly.
#ifndef TAPML_FUZZ_TVM_SUPPORT_BASE64_H_
#define TAPML_FUZZ_TVM_SUPPORT_BASE64_H_

#include <tvm/support/io.h>

#include <cstdlib>

namespace tvm {
namespace support {

class Absent : public Stream {
 public:
  explicit Absent(Stream*) {}
  using Stream::Read;
  using Stream::Write;
  size_t Read(void*, size_t) final { abort(); }
  size_t Write(const void*, size_t) final { abort(); }
  bool InitPosition() { abort(); }
  void Finish() { abort(); }
};

using Base64InStream = Absent;
using Base64OutStream = Absent;

}  // namespace support
}  // namespace tvm

#endif  // TAPML_FUZZ_TVM_SUPPORT_BASE64_H_
