// The output path: takes finished output blocks one by one (jobs), reads their sums in the order of the tensor, masks,
// requantises and packs them into beats, and reports a tile when its last beat has left. Four results per cycle in 16 or
// 8 bits, one in 64 bits.
`default_nettype none

module jb_output #(
  parameter int OutLanes   = 16,
  parameter int PsumDepth  = 1024,
  parameter int RecordBits = 1  // of a tile's numbers, handed through
) (
  input  wire logic                         clk_i,
  input  wire logic                         rst_ni,
  // a job, accepted when the path is free
  input  wire logic                         job_valid_i,
  output      logic                         job_ready_o,
  input  wire logic                         job_emit_i,       // there are results; else it only ends a tile
  input  wire logic                         job_end_i,        // the tile's last
  input  wire logic                         job_half_i,       // of the partial sums
  input  wire logic                         job_both_i,       // both halves: a large weight gradient
  input  wire logic                         job_packed_i,     // two rows per word
  input  wire logic                         job_weight_i,     // a weight gradient, all blocks: linear, all lanes
  input  wire logic                         job_selective_i,  // its signs
  input  wire logic                         job_raw_i,
  input  wire logic                         job_relu_i,
  input  wire logic                         job_mask_i,
  input  wire logic [15:0]                  job_mask_below_i,
  input  wire logic [2:0]                   job_rounding_i,
  input  wire logic [5:0]                   job_shift_i,
  input  wire logic [15:0]                  job_images_i,
  input  wire logic [15:0]                  job_rows_i,
  input  wire logic [15:0]                  job_columns_i,    // weight gradient: words, in one row
  input  wire logic [15:0]                  job_last_words_i, // weight gradient: words of the last block
  input  wire logic [15:0]                  job_sign_base_i,  // first address of its signs
  input  wire logic [2:0]                   job_quads_i,      // fours of channels that exist; weight gradient: in the last block
  input  wire logic [RecordBits-1:0]        job_record_i,
  output      logic                         busy_o,
  output      logic                         block_done_o,     // pulse: a block has been read
  // partial sums
  output      logic [1:0]                   read_half_o,
  output      logic [$clog2(PsumDepth)-1:0] read_address_o,
  output      logic [1:0]                   read_quad_o,      // three cycles after the address
  input  wire logic [287:0]                 read_data_i,
  // signs: what was predicted, two cycles after the address
  output      logic                         sign_valid_o,
  output      logic [15:0]                  sign_address_o,
  input  wire logic [OutLanes-1:0]          sign_decided_i,
  input  wire logic [2*OutLanes-1:0]        sign_value_i,
  // masks
  input  wire logic                         m_valid_i,
  output      logic                         m_ready_o,
  input  wire logic [63:0]                  m_data_i,
  // results
  output      logic                         o_valid_o,
  input  wire logic                         o_ready_i,
  output      logic [63:0]                  o_data_o,
  output      logic                         o_last_o,
  // a tile
  output      logic                         done_valid_o,
  input  wire logic                         done_ready_i,
  output      logic [47:0]                  done_peak_o,      // max |sum| of what was written
  output      logic [31:0]                  done_saturated_o,
  output      logic [RecordBits-1:0]        done_record_o
);
  localparam int AddressBits = $clog2(PsumDepth);
  localparam int Quads = OutLanes / 4;
  localparam int QueueDepth = 32;
  localparam int Latency = 10;  // from issue to packing

  typedef enum logic [2:0] {
    StIdle,
    StRun,
    StDrain,
    StPeak,
    StDone
  } state_e;

  state_e state_q;

  // ---- the job
  logic end_q, half_q, both_q, packed_q, weight_q, selective_q, raw_q, relu_q, mask_q;
  logic [15:0] mask_below_q, images_q, rows_q, columns_q, sign_base_q;
  logic [15:0] whole_q;  // weight gradient: words of the blocks before the last one
  logic in_last_q;       // in the last block
  logic [2:0] rounding_q, quads_q;
  logic [5:0] shift_q;
  logic take;

  assign job_ready_o = state_q == StIdle;
  assign take        = job_valid_i && job_ready_o;
  assign busy_o      = state_q != StIdle;

  // ---- issue: one quad, or one lane in RAW, per cycle
  logic [15:0] image_q, row_q, column_q;
  logic [AddressBits-1:0] base_q, address;
  logic [2:0] job_quads;
  logic [3:0] element_q, last_element_q;  // within the pixel's part of the block
  logic lower_q;  // second row of a packed pair
  logic issue, element_end, column_end, row_end, image_end, pixel_odd_q, beat, flush;
  logic [5:0] reserved_q;
  logic room, queue_pop;
  logic [1:0] quad;
  logic [3:0] drain_q;
  logic [1:0] peak_index_q;

  assign job_quads    = job_weight_i ? 3'(Quads) : job_quads_i;
  assign element_end  = element_q == last_element_q;
  assign column_end   = element_end && column_q == columns_q - 16'd1;
  assign row_end      = column_end && row_q == rows_q - 16'd1;
  assign image_end    = row_end && image_q == images_q - 16'd1;
  assign quad         = raw_q ? element_q[3:2] : element_q[1:0];
  assign address      = base_q + column_q[AddressBits-1:0];
  assign room         = reserved_q < 6'(QueueDepth);
  assign issue        = state_q == StRun && room && (!mask_q || m_valid_i);
  // Bytes: two quads make a beat; the part of a pixel ends one, but a weight gradient goes on.
  assign flush        = weight_q ? pixel_odd_q : element_q[0] || element_end;
  assign beat         = raw_q || !(relu_q || selective_q) || flush;
  assign m_ready_o    = issue && mask_q && (element_end || (raw_q ? element_q[2:0] == 3'd7 : element_q[0]));
  assign sign_valid_o   = issue && selective_q;
  assign sign_address_o = sign_base_q + column_q;

  assign read_half_o    = state_q == StRun || state_q == StDrain ? (both_q ? 2'b11 : {half_q, !half_q}) : 2'b00;
  assign read_address_o = both_q ? address : {half_q, address[AddressBits-2:0]};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q      <= StIdle;
      reserved_q   <= '0;
      block_done_o <= 1'b0;
    end else begin
      reserved_q   <= reserved_q + {5'd0, issue && beat} - {5'd0, queue_pop};
      block_done_o <= 1'b0;
      unique case (state_q)
        StIdle: begin
          drain_q <= '0;
          if (job_valid_i) state_q <= job_emit_i ? StRun : StDrain;
        end
        StRun: if (issue && image_end) state_q <= StDrain;
        StDrain: begin
          drain_q <= drain_q + 4'd1;
          if (drain_q == '1) begin
            state_q      <= end_q ? StPeak : StIdle;
            block_done_o <= 1'b1;
          end
        end
        StPeak: if (peak_index_q == 2'd3 && reserved_q == '0) state_q <= StDone;
        default: if (done_ready_i) state_q <= StIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      end_q         <= job_end_i;
      half_q        <= job_half_i;
      both_q        <= job_both_i;
      packed_q      <= job_packed_i;
      weight_q      <= job_weight_i;
      selective_q   <= job_selective_i;
      raw_q         <= job_raw_i;
      relu_q        <= job_relu_i;
      mask_q        <= job_mask_i;
      mask_below_q  <= job_mask_below_i;
      rounding_q    <= job_rounding_i;
      shift_q       <= job_raw_i || job_weight_i ? '0 : job_shift_i;
      images_q      <= job_images_i;
      rows_q        <= job_rows_i;
      columns_q     <= job_columns_i;
      quads_q       <= job_quads_i;
      last_element_q <= job_raw_i ? 4'({job_quads, 2'b00} - 5'd1) : {1'b0, job_quads - 3'd1};
      sign_base_q   <= job_sign_base_i;
      done_record_o <= job_record_i;
      base_q        <= '0;
      whole_q       <= job_columns_i - job_last_words_i;
      in_last_q     <= job_columns_i == job_last_words_i;
      image_q       <= '0;
      row_q         <= '0;
      column_q      <= '0;
      element_q     <= '0;
      lower_q       <= 1'b0;
      pixel_odd_q   <= 1'b0;
    end else if (issue) begin
      element_q   <= element_end ? '0 : element_q + 4'd1;
      pixel_odd_q <= !pixel_odd_q;
      if (element_end) begin
        column_q <= column_end ? '0 : column_q + 16'd1;
        if (column_q + 16'd1 == whole_q) in_last_q <= 1'b1;
      end
      if (column_end) begin
        row_q <= row_end ? '0 : row_q + 16'd1;
        if (packed_q && !lower_q && !row_end) begin
          lower_q <= 1'b1;
        end else begin
          lower_q <= 1'b0;
          base_q  <= base_q + columns_q[AddressBits-1:0];
        end
      end
      if (row_end) image_q <= image_q + 16'd1;
    end
  end

  // ---- mask and signs of the quad (RAW: of the lane, in all four places)
  logic [3:0] pass_d;
  logic [7:0] byte_d[4];

  always_comb begin
    for (int n = 0; n < 4; n++) begin
      byte_d[n] = raw_q ? m_data_i[8*element_q[2:0]+:8] : m_data_i[32*element_q[0]+8*n+:8];
      pass_d[n] = !mask_q || (byte_d[n] != '0 && (mask_below_q == '0 || {8'd0, byte_d[n]} < mask_below_q));
      if (weight_q && in_last_q && {1'b0, quad} >= quads_q) pass_d[n] = 1'b0;
    end
  end

  // ---- what goes with an issue
  logic [Latency:1] valid_q, beat_q, last_q, upper_q;
  logic [4:1] row_lower_q;
  logic [3:1] quad0_q, quad1_q;
  logic [4:1] lane0_q, lane1_q;
  logic [3:0] pass_q[4], decided_q[Latency];
  logic [7:0] value_sign_q[Latency];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
      beat_q  <= '0;
    end else begin
      valid_q <= {valid_q[Latency-1:1], issue};
      beat_q  <= {beat_q[Latency-1:1], issue && beat};
    end
  end

  always_ff @(posedge clk_i) begin
    last_q      <= {last_q[Latency-1:1], image_end && end_q};
    upper_q     <= {upper_q[Latency-1:1], weight_q ? pixel_odd_q : element_q[0]};
    row_lower_q <= {row_lower_q[3:1], lower_q};
    quad0_q     <= {quad0_q[2:1], quad[0]};
    quad1_q     <= {quad1_q[2:1], quad[1]};
    lane0_q     <= {lane0_q[3:1], element_q[0]};
    lane1_q     <= {lane1_q[3:1], element_q[1]};
    pass_q[0]   <= pass_d;
    decided_q[2]    <= sign_decided_i[4*(32'({quad1_q[2], quad0_q[2]})%Quads)+:4];
    value_sign_q[2] <= sign_value_i[8*(32'({quad1_q[2], quad0_q[2]})%Quads)+:8];
    for (int n = 1; n < 4; n++) pass_q[n] <= pass_q[n-1];
    for (int n = 3; n < Latency; n++) begin
      decided_q[n]    <= decided_q[n-1];
      value_sign_q[n] <= value_sign_q[n-1];
    end
  end

  // ---- cycle 4: the quad; cycle 5: masked
  logic [287:0] sums_q;
  logic [71:0] first;  // of the quad, or the lane
  logic [71:0] both[4];
  logic [3:0] clear;
  logic [47:0] sum[4], value_q[4], wide[4], size_q[4], peak_q[4];
  logic [15:0] rounded[4];
  logic [3:0] saturated;
  logic [1:0] lane;

  assign read_quad_o = {quad1_q[3], quad0_q[3]};
  assign lane        = raw_q ? {lane1_q[4], lane0_q[4]} : 2'd0;
  assign clear       = ~pass_q[3] | (raw_q ? 4'b1110 : 4'b0000);
  assign first       = sums_q[72*lane+:72];

  always_comb begin
    for (int n = 0; n < 4; n++) begin
      both[n] = n == 0 ? first : sums_q[72*n+:72];
      if (!packed_q) sum[n] = both[n][47:0];
      else if (row_lower_q[4]) sum[n] = {{12{both[n][35]}}, both[n][35:0]};
      else sum[n] = {{12{both[n][71]}}, both[n][71:36]};
    end
  end

  always_ff @(posedge clk_i) begin
    sums_q <= read_data_i;
    for (int n = 0; n < 4; n++) begin
      if (clear[n]) value_q[n] <= '0;
      else value_q[n] <= sum[n];
    end
  end

  for (genvar n = 0; n < 4; n++) begin : g_lane
    jb_requantise u_requantise (
      .clk_i,
      .shift_i    (shift_q),
      .rounding_i (rounding_q),
      .relu_i     (relu_q),
      .value_i    (value_q[n]),
      .wide_o     (wide[n]),
      .value_o    (rounded[n]),
      .saturated_o(saturated[n])
    );
  end

  // ---- the largest, one of each lane first
  always_ff @(posedge clk_i) begin
    for (int n = 0; n < 4; n++) begin
      size_q[n] <= (value_q[n] ^ {48{value_q[n][47]}}) + {47'd0, value_q[n][47]};
      if (valid_q[6] && size_q[n] > peak_q[n]) peak_q[n] <= size_q[n];
    end
    if (state_q != StPeak) begin
      peak_index_q <= '0;
    end else if (peak_index_q != 2'd3) begin
      peak_index_q <= peak_index_q + 2'd1;
      if (peak_q[peak_index_q+2'd1] > peak_q[0]) peak_q[0] <= peak_q[peak_index_q+2'd1];
    end
    if (!rst_ni || (state_q == StDone && done_ready_i)) begin
      for (int n = 0; n < 4; n++) peak_q[n] <= '0;
    end
  end

  assign done_peak_o  = peak_q[0];
  assign done_valid_o = state_q == StDone;

  // ---- packing
  logic [31:0] bytes, held_q;
  logic [63:0] packed_beat;
  logic [2:0] clamped;

  always_comb begin
    for (int n = 0; n < 4; n++) begin
      if (!selective_q) bytes[8*n+:8] = rounded[n][7:0];
      else if (decided_q[Latency-1][n]) bytes[8*n+:8] = {6'b100000, value_sign_q[Latency-1][2*n+:2]};
      else bytes[8*n+:8] = {6'b000000, wide[n][47], wide[n] != '0};
    end
    if (raw_q) packed_beat = {{16{wide[0][47]}}, wide[0]};
    else if (relu_q || selective_q) packed_beat = upper_q[Latency] ? {bytes, held_q} : {32'd0, bytes};
    else packed_beat = {rounded[3], rounded[2], rounded[1], rounded[0]};
    clamped = {2'd0, saturated[0]} + {2'd0, saturated[1]} + {2'd0, saturated[2]} + {2'd0, saturated[3]};
  end

  always_ff @(posedge clk_i) begin
    if (valid_q[Latency]) held_q <= bytes;
    if (!rst_ni || (state_q == StDone && done_ready_i)) done_saturated_o <= '0;
    else if (valid_q[Latency] && !raw_q && !weight_q) done_saturated_o <= done_saturated_o + {29'd0, clamped};
  end

  // ---- queue: its places are reserved at issue
  logic queue_ready_unused;
  logic [5:0] queue_count_unused;

  jb_fifo #(
    .Width(65),
    .Depth(QueueDepth)
  ) u_queue (
    .clk_i,
    .rst_ni,
    .valid_i(beat_q[Latency]),
    .ready_o(queue_ready_unused),
    .data_i ({last_q[Latency], packed_beat}),
    .valid_o(o_valid_o),
    .ready_i(o_ready_i),
    .data_o ({o_last_o, o_data_o}),
    .count_o(queue_count_unused)
  );

  assign queue_pop = o_valid_o && o_ready_i;

  logic unused;
  assign unused = ^{queue_ready_unused, queue_count_unused, quad0_q, quad1_q};
endmodule

`default_nettype wire
