// What TVM's sources need of <tvm/support/io.h>, which the Python wheel of TVM does not ship.
#ifndef TAPML_FUZZ_TVM_SUPPORT_IO_H_
#define TAPML_FUZZ_TVM_SUPPORT_IO_H_

#include <cstddef>

namespace tvm {
namespace support {

/*! \brief A stream of bytes; values are read and written as `Serializer` lays them out. */
class Stream {
 public:
  virtual ~Stream() = default;

  /*! \return how many of `size` bytes were read */
  virtual size_t Read(void* data, size_t size) = 0;
  /*! \return how many of `size` bytes were written */
  virtual size_t Write(const void* data, size_t size) = 0;

  template <typename T>
  bool Read(T* value);
  template <typename T>
  void Write(const T& value);

  template <typename T>
  bool ReadArray(T* values, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      if (!Read(values + i)) return false;
    }
    return true;
  }
  template <typename T>
  void WriteArray(const T* values, size_t count) {
    for (size_t i = 0; i < count; ++i) Write(values[i]);
  }
};

}  // namespace support
}  // namespace tvm

#include <tvm/support/serializer.h>

#endif  // TAPML_FUZZ_TVM_SUPPORT_IO_H_
