//! The netstat module: interfaces, neighbours, connections and listening ports.
