// TVM's runtime for WebAssembly as far as one operator needs it: tensors, devices, modules, WebGPU. It is built from
// the sources in the Python wheels of TVM and tvm-ffi; only the glue is here. TVM's own web/emcc/wasm_runtime.cc also
// has the virtual machine, RPC and sampling, and with them sources that the wheel lacks.

#define TVM_LOG_DEBUG 0
#define TVM_LOG_CUSTOMIZE 1
#define TVM_FFI_USE_LIBBACKTRACE 0
#define TVM_FFI_BACKTRACE_ON_SEGFAULT 0
// There are no exceptions: what is thrown traps. Its message goes to the console before.
#define TVM_FFI_ALWAYS_LOG_BEFORE_THROW 1

#include <tvm/ffi/any.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>
#include <tvm/runtime/device_api.h>
#include <tvm/runtime/logging.h>
#include <tvm/runtime/tensor.h>

#include <cstdlib>
#include <iostream>
#include <string>

// Of tvm-ffi's wheel.
#include "src/ffi/backtrace.cc"
#include "src/ffi/container.cc"
#include "src/ffi/custom_allocator.cc"
#include "src/ffi/dtype.cc"
#include "src/ffi/error.cc"
#include "src/ffi/extra/env_c_api.cc"
#include "src/ffi/extra/env_context.cc"
#include "src/ffi/extra/json_parser.cc"
#include "src/ffi/extra/json_writer.cc"
#include "src/ffi/extra/library_module.cc"
#include "src/ffi/extra/library_module_system_lib.cc"
#include "src/ffi/extra/module.cc"
#include "src/ffi/function.cc"
#include "src/ffi/init_once.cc"
#include "src/ffi/object.cc"
#include "src/ffi/tensor.cc"

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
