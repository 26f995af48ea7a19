// Convolutions and matrix products of oneDNN (https://uxlfoundation.github.io/oneDNN/) as XLA's custom calls.
//
// What a call computes is told in attributes: how each tensor lies, as its sizes in oneDNN's order of dims and then its
// strides, so that one handler serves every order of dims. Kernels are handed to oneDNN in the layout that it likes.

#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using dnnl::memory;
using Numbers = ffi::Span<const int64_t>;
using Shape = memory::desc;

enum Pass { kForward, kImageGradient, kKernelGradient };

// One engine for the process; a stream for each thread, for calls of several devices run at once.
const dnnl::engine& Engine() {
  static const auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::stream& Stream() {
  thread_local dnnl::stream stream(Engine());
  return stream;
}

// Room to work in, as large as the largest operation of this thread has needed.
void* Scratch(size_t size) {
  thread_local std::unique_ptr<void, decltype(&std::free)> room(nullptr, &std::free);
  thread_local size_t has = 0;
  if (size > has) {
    has = (size + 63) / 64 * 64;
    room.reset();  // before there is twice as much
    room.reset(std::aligned_alloc(64, has));
    if (!room) throw std::bad_alloc();
  }
  return room.get();
}

memory::data_type Type(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::F32: return memory::data_type::f32;
    case ffi::DataType::BF16: return memory::data_type::bf16;
    default: throw std::invalid_argument("neither float32 nor bfloat16");
  }
}

Shape Lying(Numbers numbers, memory::data_type type) {
  const size_t rank = numbers.size() / 2;
  return Shape(memory::dims(numbers.begin(), numbers.begin() + rank), type,
               memory::dims(numbers.begin() + rank, numbers.end()));
}

Shape AsLiked(const Shape& shape) {
  return Shape(shape.get_dims(), shape.get_data_type(), memory::format_tag::any);
}

// An operation and what it is called with; one call uses it at a time.
struct Plan {
  dnnl::primitive primitive;
  size_t scratch = 0;
  std::unordered_map<int, memory> arguments;
  // The tensors of the call: two operands and the result.
  memory tensors[3];
  // A kernel in the layout that oneDNN likes, turned before the call or after it.
  std::unique_ptr<dnnl::reorder> before, after;
  memory kernel;

  void Run(void* const buffers[3], int place_of_kernel) {
    dnnl::stream& stream = Stream();
    for (int i = 0; i < 3; ++i) tensors[i].set_data_handle(buffers[i]);
    if (scratch) arguments.at(DNNL_ARG_SCRATCHPAD).set_data_handle(Scratch(scratch));
    if (before) before->execute(stream, tensors[place_of_kernel], kernel);
    primitive.execute(stream, arguments);
    if (after) after->execute(stream, kernel, tensors[place_of_kernel]);
    stream.wait();
  }
};

memory Unallocated(const Shape& shape) { return memory(shape, Engine(), DNNL_MEMORY_NONE); }

// Adds a tensor that lies as XLA has it to `plan`; a kernel, by way of the layout `liked`.
void AddTensor(Plan& plan, int place, int argument, const Shape& shape) {
  plan.tensors[place] = Unallocated(shape);
  plan.arguments[argument] = plan.tensors[place];
}

void AddKernel(Plan& plan, int place, int argument, const Shape& shape, const Shape& liked, bool is_result) {
  AddTensor(plan, place, argument, shape);
  if (liked == shape) return;
  plan.kernel = memory(liked, Engine());
  plan.arguments[argument] = plan.kernel;
  if (is_result) {
    plan.after = std::make_unique<dnnl::reorder>(plan.kernel, plan.tensors[place]);
  } else {
    plan.before = std::make_unique<dnnl::reorder>(plan.tensors[place], plan.kernel);
  }
}

template <typename Description>
void Finish(Plan& plan, const Description& description, dnnl::primitive primitive) {
  plan.primitive = std::move(primitive);
  plan.scratch = description.scratchpad_desc().get_size();
  plan.arguments[DNNL_ARG_SCRATCHPAD] = Unallocated(description.scratchpad_desc());
}

// Plans by everything that they depend on; those not in use lie ready.
class Plans {
 public:
  template <typename Make>
  std::unique_ptr<Plan> Take(const std::string& key, const Make& make) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto& ready = ready_[key];
      if (!ready.empty()) {
        auto plan = std::move(ready.back());
        ready.pop_back();
        return plan;
      }
    }
    auto plan = std::make_unique<Plan>();
    make(*plan);
    return plan;
  }

  void PutBack(const std::string& key, std::unique_ptr<Plan> plan) {
    std::lock_guard<std::mutex> lock(mutex_);
    ready_[key].push_back(std::move(plan));
  }

  static Plans& All() {
    static auto* plans = new Plans;  // never destroyed: threads may still run when the process ends
    return *plans;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::vector<std::unique_ptr<Plan>>> ready_;
};

void Add(std::string& key, Numbers numbers) {
  key.append(reinterpret_cast<const char*>(numbers.begin()), numbers.size() * sizeof(int64_t)).push_back('|');
}

template <typename Make>
ffi::Error Run(const std::string& key, void* const buffers[3], int place_of_kernel, const Make& make) {
  try {
    auto plan = Plans::All().Take(key, make);
    plan->Run(buffers, place_of_kernel);
    Plans::All().PutBack(key, std::move(plan));
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  }
}

dnnl::primitive_attr Attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// `image`, `kernel` and `values` are the tensors of the forward pass, of which one is the result and two are operands;
// `window` has steps, dilations less 1, and padding before and after, each of height and width.
ffi::Error Convolution(int64_t pass, Numbers image, Numbers kernel, Numbers values, Numbers window,
                       ffi::AnyBuffer first, ffi::AnyBuffer second, ffi::Result<ffi::AnyBuffer> result) {
  std::string key = "convolution" + std::to_string(pass) + "|" + std::to_string(int(first.element_type())) + "|";
  for (Numbers numbers : {image, kernel, values, window}) Add(key, numbers);
  void* const buffers[3] = {first.untyped_data(), second.untyped_data(), result->untyped_data()};
  const int place_of_kernel = pass == kKernelGradient ? 2 : 1;
  return Run(key, buffers, place_of_kernel, [&](Plan& plan) {
    const auto type = Type(first.element_type());
    const Shape x = Lying(image, type), w = Lying(kernel, type), y = Lying(values, type), any = AsLiked(w);
    auto pair = [&](int i) { return memory::dims(window.begin() + 2 * i, window.begin() + 2 * i + 2); };
    const auto algorithm = dnnl::algorithm::convolution_direct;
    const dnnl::convolution_forward::primitive_desc forward(
        Engine(), dnnl::prop_kind::forward_training, algorithm, x, any, y, pair(0), pair(1), pair(2), pair(3),
        Attributes());
    if (pass == kForward) {
      AddTensor(plan, 0, DNNL_ARG_SRC, x);
      AddKernel(plan, 1, DNNL_ARG_WEIGHTS, w, forward.weights_desc(), false);
      AddTensor(plan, 2, DNNL_ARG_DST, y);
      Finish(plan, forward, dnnl::convolution_forward(forward));
    } else if (pass == kImageGradient) {
      const dnnl::convolution_backward_data::primitive_desc backward(
          Engine(), algorithm, x, any, y, pair(0), pair(1), pair(2), pair(3), forward, Attributes());
      AddTensor(plan, 0, DNNL_ARG_DIFF_DST, y);
      AddKernel(plan, 1, DNNL_ARG_WEIGHTS, w, backward.weights_desc(), false);
      AddTensor(plan, 2, DNNL_ARG_DIFF_SRC, x);
      Finish(plan, backward, dnnl::convolution_backward_data(backward));
    } else {
      const dnnl::convolution_backward_weights::primitive_desc backward(
          Engine(), algorithm, x, any, y, pair(0), pair(1), pair(2), pair(3), forward, Attributes());
      AddTensor(plan, 0, DNNL_ARG_SRC, x);
      AddTensor(plan, 1, DNNL_ARG_DIFF_DST, y);
      AddKernel(plan, 2, DNNL_ARG_DIFF_WEIGHTS, w, backward.diff_weights_desc(), true);
      Finish(plan, backward, dnnl::convolution_backward_weights(backward));
    }
  });
}

// Each of the three lies as [batch..., row, column].
ffi::Error Product(Numbers left, Numbers right, Numbers out, ffi::AnyBuffer first, ffi::AnyBuffer second,
                   ffi::Result<ffi::AnyBuffer> result) {
  std::string key = "product|" + std::to_string(int(first.element_type())) + "|" +
                    std::to_string(int(result->element_type())) + "|";
  for (Numbers numbers : {left, right, out}) Add(key, numbers);
  void* const buffers[3] = {first.untyped_data(), second.untyped_data(), result->untyped_data()};
  return Run(key, buffers, 1, [&](Plan& plan) {
    const auto type = Type(first.element_type());
    const Shape a = Lying(left, type), b = Lying(right, type), c = Lying(out, Type(result->element_type()));
    const dnnl::matmul::primitive_desc product(Engine(), a, b, c, Attributes());
    AddTensor(plan, 0, DNNL_ARG_SRC, a);
    AddTensor(plan, 1, DNNL_ARG_WEIGHTS, b);
    AddTensor(plan, 2, DNNL_ARG_DST, c);
    Finish(plan, product, dnnl::matmul(product));
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxai_convolution, Convolution,
                              ffi::Ffi::Bind()
                                  .Attr<int64_t>("pass")
                                  .Attr<Numbers>("image")
                                  .Attr<Numbers>("kernel")
                                  .Attr<Numbers>("values")
                                  .Attr<Numbers>("window")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxai_product, Product,
                              ffi::Ffi::Bind()
                                  .Attr<Numbers>("left")
                                  .Attr<Numbers>("right")
                                  .Attr<Numbers>("out")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

// Whether oneDNN has a processor to run on: the reason if not, else null.
extern "C" const char* jaxai_onednn_fault() {
  static std::string fault;
  try {
    Stream();
    return nullptr;
  } catch (const std::exception& error) {
    fault = error.what();
    return fault.c_str();
  }
}
