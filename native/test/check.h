// The native tests' harness: TEST("a sentence") { ... } blocks, run in order by main, printed as TAP version 14.
//
// CHECK notes a failure and goes on, REQUIRE ends the test, skipTest says why nothing could be shown. An exception
// that leaves a test fails it. Arguments of the program select tests whose title contains one of them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace check {

struct Test {
  const char* title;
  void (*body)();
};

struct Skip {
  std::string why;
};
struct Ended {};  // thrown by REQUIRE after the failure was noted

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline std::vector<std::string>& failures() {
  static std::vector<std::string> ofThisTest;
  return ofThisTest;
}

struct Registration {
  Registration(const char* title, void (*body)()) { tests().push_back({title, body}); }
};

inline bool note(bool holds, const char* file, int line, const std::string& what) {
  if (!holds) failures().push_back(std::string(file) + ":" + std::to_string(line) + ": " + what);
  return holds;
}

template <class A, class B>
std::string comparison(const char* left, const char* right, const A& a, const B& b) {
  if constexpr (requires { std::to_string(a) + std::to_string(b); }) {
    return std::string(left) + " == " + right + " (" + std::to_string(a) + " and " + std::to_string(b) + ")";
  } else {
    return std::string(left) + " == " + right;
  }
}

[[noreturn]] inline void skipTest(const std::string& why) { throw Skip{why}; }

// The directive of the result line: empty, or " # SKIP why".
inline std::string runBody(const Test& test) {
  try {
    test.body();
  } catch (const Skip& skip) {
    return " # SKIP " + skip.why;
  } catch (const Ended&) {
  } catch (const std::exception& error) {
    note(false, test.title, 0, std::string("unexpected exception: ") + error.what());
  }
  return "";
}

inline bool selected(const Test& test, int argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    if (strstr(test.title, argv[i]) != nullptr) return true;
  }
  return argc < 2;
}

inline int runAll(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  printf("TAP version 14\n");
  int number = 0;
  int failed = 0;
  for (const Test& test : tests()) {
    if (!selected(test, argc, argv)) continue;
    failures().clear();
    const std::string directive = runBody(test);
    if (!failures().empty()) failed++;
    printf("%s %d - %s%s\n", failures().empty() ? "ok" : "not ok", ++number, test.title, directive.c_str());
    for (const std::string& failure : failures()) printf("# %s\n", failure.c_str());
  }
  printf("1..%d\n", number);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace check

#define CHECK_JOIN_(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN_(a, b)
#define TEST(title)                                                                                        \
  static void CHECK_JOIN(test_, __LINE__)();                                                               \
  static const check::Registration CHECK_JOIN(registration_, __LINE__)(title, CHECK_JOIN(test_, __LINE__)); \
  static void CHECK_JOIN(test_, __LINE__)()

#define CHECK(holds) check::note(static_cast<bool>(holds), __FILE__, __LINE__, #holds)
// Each side is evaluated once.
#define CHECK_EQ(a, b)                                                                  \
  [&](const auto& left, const auto& right) {                                            \
    return check::note(left == right, __FILE__, __LINE__,                               \
                       check::comparison(#a, #b, left, right));                         \
  }((a), (b))
#define REQUIRE(holds)               \
  do {                               \
    if (!CHECK(holds)) throw check::Ended{}; \
  } while (0)
#define CHECK_THROWS(Type, ...)                                                  \
  do {                                                                           \
    bool thrown = false;                                                         \
    try {                                                                        \
      __VA_ARGS__;                                                               \
    } catch (const Type&) {                                                      \
      thrown = true;                                                             \
    }                                                                            \
    check::note(thrown, __FILE__, __LINE__, #__VA_ARGS__ " throws " #Type);      \
  } while (0)
#define CHECK_MAIN \
  int main(int argc, char** argv) { return check::runAll(argc, argv); }
