"""Two models on the same studies, and a candidate held to the tumours that earlier models missed."""
