"""Where a study is written down beside its own report: MLflow, TensorBoard, Weights & Biases."""
