// TVM's runtime for WebAssembly as far as one operator needs it: tensors, devices, WebGPU. It is built, like ffi.cc, from
// the sources in the Python wheels of TVM and tvm-ffi; only the glue is here. TVM's own web/emcc/wasm_runtime.cc also
// has the virtual machine, RPC and sampling, and with them sources that the wheel lacks.

#define TVM_LOG_DEBUG 0
#define TVM_LOG_CUSTOMIZE 1
#define TVM_FFI_USE_LIBBACKTRACE 0
#define TVM_FFI_BACKTRACE_ON_SEGFAULT 0

#include <tvm/ffi/any.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>
#include <tvm/runtime/device_api.h>
#include <tvm/runtime/logging.h>
#include <tvm/runtime/tensor.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <typeinfo>

// Of TVM's wheel.
#include "src/runtime/cpu_device_api.cc"
#include "src/runtime/device_api.cc"
#include "src/runtime/logging.cc"
#include "src/runtime/tensor.cc"
#include "src/runtime/workspace_pool.cc"
#include "web/emcc/webgpu_runtime.cc"

// What tvmjs calls besides TVM's C interface, and what it provides.
extern "C" {
extern int TVMFFIWasmSafeCall(void* self, const TVMFFIAny* args, int32_t num_args, TVMFFIAny* result);
extern void TVMFFIWasmFunctionDeleter(void* self);

TVM_DLL void* TVMWasmAllocSpace(int size) { return new int64_t[(size + 7) / 8]; }
TVM_DLL void TVMWasmFreeSpace(void* data) { delete[] static_cast<int64_t*>(data); }
TVM_DLL int TVMFFIWasmFunctionCreate(void* self, TVMFFIObjectHandle* out) {
  return TVMFFIFunctionCreate(self, TVMFFIWasmSafeCall, TVMFFIWasmFunctionDeleter, out);
}
TVM_DLL const char* TVMFFIWasmGetLastError() {
  static std::string message;
  message = tvm::ffi::details::MoveFromSafeCallRaised().what();
  return message.c_str();
}
}

// WebAssembly is built without exceptions: what is thrown ends the program, but not without a word.
extern "C" void* __cxa_allocate_exception(size_t size) noexcept { return malloc(size); }
extern "C" [[noreturn]] void __cxa_throw(void* thrown, std::type_info* type, void (*)(void*)) {
  if (*type == typeid(tvm::ffi::Error)) {
    auto* error = static_cast<tvm::ffi::Error*>(thrown);
    std::cerr << error->kind() << ": " << error->message() << std::endl;
  } else {
    std::cerr << type->name() << std::endl;
  }
  abort();
}

namespace tvm {
namespace runtime {
namespace detail {

[[noreturn]] void LogFatalImpl(const std::string&, int, const std::string& message) {
  std::cerr << message << std::endl;
  abort();
}

void LogMessageImpl(const std::string&, int, int, const std::string& message) { std::cout << message << std::endl; }

}  // namespace detail

static void LeftOut(ffi::PackedArgs, ffi::Any*) {
  TVM_FFI_THROW(InternalError) << "this runtime has no virtual machine";
}

TVM_FFI_STATIC_INIT_BLOCK() {
  ffi::reflection::GlobalDef registry;
  registry
      .def("tvmjs.runtime.TensorCopyFromBytes",
           [](Tensor tensor, TVMFFIByteArray* bytes) { tensor.CopyFromBytes(bytes->data, bytes->size); })
      .def("tvmjs.runtime.TensorCopyToBytes", [](Tensor tensor) {
        std::string bytes(ffi::GetDataSize(*tensor.operator->()), '\0');
        tensor.CopyToBytes(bytes.data(), bytes.size());
        return ffi::Bytes(std::move(bytes));
      });
  // tvmjs looks these up when it starts, and calls none of them for a single operator.
  for (const char* name : {
           "tvmjs.array.decode_storage",
           "tvmjs.runtime.ArrayConcat",
           "tvmjs.runtime.ConcatEmbeddings",
           "vm.builtin.apply_presence_and_frequency_penalty",
           "vm.builtin.apply_repetition_penalty",
           "vm.builtin.apply_softmax_with_temperature",
           "vm.builtin.param_module_from_cache",
           "vm.builtin.param_module_from_cache_by_name",
           "vm.builtin.sample_top_p_from_logits",
           "vm.builtin.sample_top_p_from_prob",
           "vm.builtin.tensor_cache.clear",
           "vm.builtin.tensor_cache.get",
           "vm.builtin.tensor_cache.remove",
           "vm.builtin.tensor_cache.update",
       }) {
    registry.def_packed(name, LeftOut);
  }
}

}  // namespace runtime
}  // namespace tvm
