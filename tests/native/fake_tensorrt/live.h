// The number of objects of each kind, for tests of leaks.
#ifndef LATENTLOOP_TESTS_TENSORRT_LIVE_H_
#define LATENTLOOP_TESTS_TENSORRT_LIVE_H_

#include <atomic>
#include <memory>

namespace fake_tensorrt {

// The objects that another one made and that are not destroyed. They keep the count if they outlive it.
using Children = std::shared_ptr<std::atomic<int>>;

// A base class that counts the objects of class T.
template <typename T>
class Counted {
 public:
  static int live() { return count(); }

 protected:
  Counted() { ++count(); }
  ~Counted() { --count(); }

 private:
  static std::atomic<int>& count() {
    static std::atomic<int> number{0};
    return number;
  }
};

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_LIVE_H_
