// A program that puts a file system to the test: files_vm run|judge PATH SEED OPERATIONS [no-shifts].
//
// `run` does OPERATIONS random things to PATH.file and to the tree PATH.tree, checks every read, and compares both with what
// must be there at the end. `judge` compares only, another time and with nothing but the seed. Without arguments it shows,
// on the scratch disk, that it finds nothing where nothing is wrong and something where one byte is.

#include "check.h"
#include "seed.h"
#include "tree_model.h"

using namespace files;

namespace {

struct Job {
  std::string path;
  uint64_t seed;
  unsigned operations;
  bool shifts = true;  // the file system can collapse and insert ranges
};

template <class Model>
void steps(Model& model, const Job& job, const char* what) {
  for (unsigned n = 1; n <= job.operations; n++) {
    try {
      model.step();
    } catch (const std::exception& error) {
      throw std::runtime_error(std::string(what) + ", operation " + std::to_string(n) + " of seed " +
                               std::to_string(job.seed) + ": " + error.what());
    }
  }
}

void work(const Job& job, bool onDisk) {
  FileModel file(onDisk ? job.path + ".file" : "", job.seed, job.shifts);
  TreeModel tree(onDisk ? job.path + ".tree" : "", job.seed);
  steps(file, job, "file");
  steps(tree, job, "tree");
  file.compareWith(job.path + ".file");
  tree.compareWith(job.path + ".tree");
  printf("# seed %llu: %u operations each, a file of %zu bytes, a tree of %zu names\n",
         static_cast<unsigned long long>(job.seed), job.operations, file.size(), tree.size());
}

// A folder where temporary files are: on the ext4 of the guest, for tmpfs cannot do all of this. Gone afterwards.
class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "files.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::generic_category(), "mkdtemp");
    path = name;
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string path;
};

Job jobIn(const Scratch& scratch) { return {scratch.path + "/a", testSeed(), 400}; }

std::string verdict(const Job& job) {
  try {
    work(job, false);
    return "good";
  } catch (const std::exception& error) {
    return error.what();
  }
}

TEST("what was done is judged good, also by the seed alone") {
  const Scratch scratch;
  work(jobIn(scratch), true);
  CHECK_EQ(verdict(jobIn(scratch)), std::string("good"));
}

TEST("one byte of the file that changed is found") {
  const Scratch scratch;
  const Job job = jobIn(scratch);
  work(job, true);
  const std::string path = job.path + ".file";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) + 1);
  CHECK(verdict(job).find("bytes, expected") != std::string::npos);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  CHECK_EQ(verdict(job), std::string("good"));
  const int fd = must(open(path.c_str(), O_RDWR | O_CLOEXEC), "open");
  uint8_t byte = 0;
  must(pread(fd, &byte, 1, 0), "pread");
  byte ^= 1;
  must(pwrite(fd, &byte, 1, 0), "pwrite");
  close(fd);
  CHECK(verdict(job).starts_with("the whole file found"));
}

// A file that has one name; of another the links would be found wrong first.
std::filesystem::path onlyName(const std::string& tree) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(tree))
    if (std::filesystem::is_regular_file(entry.symlink_status()) && entry.hard_link_count() == 1) return entry.path();
  throw std::runtime_error("every file of the tree has two names");
}

TEST("a name too many and a name too few are found") {
  const Scratch scratch;
  const Job job = jobIn(scratch);
  work(job, true);
  const std::string name = job.path + ".tree/unexpected";
  must(mkdir(name.c_str(), 0700), "mkdir");
  CHECK_EQ(verdict(job), std::string("/unexpected is there, and should not be"));
  std::filesystem::remove(name);
  CHECK_EQ(verdict(job), std::string("good"));
  std::filesystem::remove(onlyName(job.path + ".tree"));
  CHECK(verdict(job).ends_with("is not there"));
}

int runJob(int argc, char** argv) {
  const auto operations = static_cast<unsigned>(strtoul(argv[4], nullptr, 0));
  const Job job = {argv[2], strtoull(argv[3], nullptr, 0), operations, argc == 5 || strcmp(argv[5], "no-shifts") != 0};
  try {
    work(job, strcmp(argv[1], "run") == 0);
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}

}  // namespace

int main(int argc, char** argv) { return argc >= 5 ? runJob(argc, argv) : check::runAll(argc, argv); }
