// What TVM's sources need of <tvm/support/serializer.h>, which the Python wheel of TVM does not ship. The layout is
// the one in which TVM's compiler stores a WebGPU module: little-endian, lengths in 64 bits before what they count.
#ifndef TAPML_FUZZ_TVM_SUPPORT_SERIALIZER_H_
#define TAPML_FUZZ_TVM_SUPPORT_SERIALIZER_H_

#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/string.h>
#include <tvm/support/io.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

namespace tvm {
namespace support {

/*! \brief A plain value is its bytes. */
template <typename T, typename Enable = void>
struct Serializer {
  static_assert(std::is_trivially_copyable_v<T>, "no serializer for this type");
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const T& value) { stream->Write(static_cast<const void*>(&value), sizeof(T)); }
  static bool Read(Stream* stream, T* value) { return stream->Read(static_cast<void*>(value), sizeof(T)) == sizeof(T); }
};

template <>
struct Serializer<std::string> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const std::string& value) {
    stream->Write(static_cast<uint64_t>(value.size()));
    if (!value.empty()) stream->Write(static_cast<const void*>(value.data()), value.size());
  }
  static bool Read(Stream* stream, std::string* value) {
    uint64_t size = 0;
    if (!stream->Read(&size)) return false;
    value->resize(size);
    return size == 0 || stream->Read(static_cast<void*>(value->data()), size) == size;
  }
};

template <>
struct Serializer<ffi::String> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const ffi::String& value) { stream->Write(std::string(value)); }
  static bool Read(Stream* stream, ffi::String* value) {
    std::string text;
    if (!stream->Read(&text)) return false;
    *value = text;
    return true;
  }
};

/*! \brief Sequences: the length, then the elements. */
template <typename Sequence, typename T>
struct SequenceSerializer {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const Sequence& values) {
    stream->Write(static_cast<uint64_t>(values.size()));
    for (const auto& value : values) Serializer<T>::Write(stream, value);
  }
  static bool Read(Stream* stream, Sequence* values) {
    uint64_t size = 0;
    if (!stream->Read(&size)) return false;
    values->clear();
    for (uint64_t i = 0; i < size; ++i) {
      T value;
      if (!Serializer<T>::Read(stream, &value)) return false;
      values->push_back(value);
    }
    return true;
  }
};

template <typename T>
struct Serializer<std::vector<T>> : SequenceSerializer<std::vector<T>, T> {};
template <typename T>
struct Serializer<ffi::Array<T>> : SequenceSerializer<ffi::Array<T>, T> {};

template <typename K, typename V>
struct Serializer<std::unordered_map<K, V>> {
  static constexpr bool enabled = true;
  static bool Read(Stream* stream, std::unordered_map<K, V>* map) {
    uint64_t size = 0;
    if (!stream->Read(&size)) return false;
    for (uint64_t i = 0; i < size; ++i) {
      K key;
      V value;
      if (!Serializer<K>::Read(stream, &key) || !Serializer<V>::Read(stream, &value)) return false;
      (*map)[key] = value;
    }
    return true;
  }
};

template <typename K, typename V>
struct Serializer<ffi::Map<K, V>> {
  static constexpr bool enabled = true;
  static bool Read(Stream* stream, ffi::Map<K, V>* map) {
    uint64_t size = 0;
    if (!stream->Read(&size)) return false;
    for (uint64_t i = 0; i < size; ++i) {
      K key;
      V value{ffi::UnsafeInit()};
      if (!Serializer<K>::Read(stream, &key) || !Serializer<V>::Read(stream, &value)) return false;
      map->Set(key, value);
    }
    return true;
  }
};

template <typename T>
bool Stream::Read(T* value) {
  return Serializer<T>::Read(this, value);
}
template <typename T>
void Stream::Write(const T& value) {
  Serializer<T>::Write(this, value);
}

}  // namespace support
}  // namespace tvm

#endif  // TAPML_FUZZ_TVM_SUPPORT_SERIALIZER_H_
