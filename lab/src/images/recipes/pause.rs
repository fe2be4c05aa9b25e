//! Process 1 of every pod: it keeps the pod's namespaces, and does nothing.

fn main() {
    loop {
        std::thread::park();
    }
}
